# The image of scripts/build-image, for those who have an engine. First scripts/build-static, then for example:
# docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example.org/reboot-manager:0.1.0 --push .
FROM scratch
ARG TARGETARCH
COPY --chmod=755 target/static/reboot-manager-${TARGETARCH} /reboot-manager
USER 65532:65532
ENTRYPOINT ["/reboot-manager"]
