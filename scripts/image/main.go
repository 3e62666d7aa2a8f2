// Command image writes an OCI image of static programs, one for each architecture, from scratch: a layer that holds the program and
// nothing else, an entry point and a user. The same input gives the same bytes.
//
// The result is one tar file with an OCI image layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md) and,
// beside it in the same file, the manifest.json that older versions of docker load read.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// The user and the group; kubernetes/deployment.yaml names them too.
	user = "65532:65532"
	// Where the program is.
	entryPoint = "/reboot-manager"
)

// options are what the command line says.
type options struct {
	output, name, version, revision string
	created                         time.Time
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("image: ")
	var given options
	var seconds int64
	flag.StringVar(&given.output, "output", "", "the file to write")
	flag.StringVar(&given.name, "name", "", "the image's name, without its tag")
	flag.StringVar(&given.version, "version", "", "the program's version, which becomes the tag")
	flag.StringVar(&given.revision, "revision", "", "the commit that it is built from")
	flag.Int64Var(&seconds, "created", 0, "when that commit was made, in seconds of Unix time")
	flag.Parse()
	given.created = time.Unix(seconds, 0).UTC()
	if given.output == "" || given.name == "" || given.version == "" || flag.NArg() == 0 {
		log.Fatal("usage: image -output FILE -name NAME -version VERSION [-revision COMMIT] [-created SECONDS] ARCHITECTURE=PROGRAM …")
	}
	write(given, flag.Args())
}

// must returns the value. An error ends the program: without any of its parts there is no image.
func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// write makes the images, the index of them, and the file. If it fails, the caller removes its TMPDIR.
func write(given options, programs []string) {
	folder := must(os.MkdirTemp("", "image"))
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var loadable []entry
	for _, pair := range programs {
		architecture, path, found := strings.Cut(pair, "=")
		if !found {
			log.Fatalf("%q is not ARCHITECTURE=PROGRAM", pair)
		}
		image := imageOf(given, architecture, must(os.ReadFile(path)))
		platform := &v1.Platform{OS: "linux", Architecture: architecture}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: plain{image}, Descriptor: v1.Descriptor{Platform: platform}})
		loadable = append(loadable, entryOf(given, architecture, image))
	}
	index = mutate.Annotations(index, annotations(given)).(v1.ImageIndex)

	// The tag, as the layout has it, and the whole name, as containerd and Docker import it.
	names := map[string]string{
		"org.opencontainers.image.ref.name": given.version,
		"io.containerd.image.name":          fullName(given.name) + ":" + given.version,
	}
	check(must(layout.Write(folder, empty.Index)).AppendIndex(index, layout.WithAnnotations(names)))
	check(os.WriteFile(filepath.Join(folder, "manifest.json"), must(json.Marshal(loadable)), 0o644))
	pack(folder, given)
	check(os.RemoveAll(folder))
	fmt.Println(must(index.Digest()))
}

// plain is an image whose entry in the index has no artifactType: images need none, and skopeo 1.9 drops it, which changes the digest of
// the index.
type plain struct{ v1.Image }

func (plain) ArtifactType() (string, error) { return "", nil }

// imageOf is the image for one architecture.
func imageOf(given options, architecture string, program []byte) v1.Image {
	var content bytes.Buffer
	writer := tar.NewWriter(&content)
	add(writer, strings.TrimPrefix(entryPoint, "/"), 0o755, program, given.created)
	check(writer.Close())
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil }
	layer := must(tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9)))
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	history := v1.History{Created: v1.Time{Time: given.created}, CreatedBy: "scripts/build-image"}
	image := must(mutate.Append(base, mutate.Addendum{Layer: layer, History: history}))
	file := must(image.ConfigFile()).DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", architecture, v1.Time{Time: given.created}
	file.Config = v1.Config{Entrypoint: []string{entryPoint}, User: user, WorkingDir: "/", Labels: annotations(given)}
	return mutate.Annotations(must(mutate.ConfigFile(image, file)), annotations(given)).(v1.Image)
}

// annotations say what the image is: https://github.com/opencontainers/image-spec/blob/main/annotations.md
func annotations(given options) map[string]string {
	texts := map[string]string{
		"org.opencontainers.image.title":       "reboot-manager",
		"org.opencontainers.image.description": "Lets Kubernetes nodes that update themselves reboot one after the other, drained",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     given.version,
		"org.opencontainers.image.created":     given.created.Format(time.RFC3339),
	}
	if given.revision != "" {
		texts["org.opencontainers.image.revision"] = given.revision
	}
	return texts
}

// entry is an image in manifest.json.
type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// entryOf names the image's blobs. A file of this form has one architecture a name, so the tag says which.
func entryOf(given options, architecture string, image v1.Image) entry {
	made := entry{Config: blob(must(image.ConfigName())), RepoTags: []string{given.name + ":" + given.version + "-" + architecture}}
	for _, layer := range must(image.Layers()) {
		made.Layers = append(made.Layers, blob(must(layer.Digest())))
	}
	return made
}

// blob is where a layout keeps the content with this digest.
func blob(digest v1.Hash) string {
	return "blobs/" + digest.Algorithm + "/" + digest.Hex
}

// fullName is what a name without a registry means to Docker and containerd.
func fullName(name string) string {
	first, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		return "docker.io/library/" + name
	case strings.ContainsAny(first, ".:") || first == "localhost":
		return name
	default:
		return "docker.io/" + name
	}
}

// pack writes the files of the folder into one tar file, in the order of their names.
func pack(folder string, given options) {
	output := must(os.Create(given.output))
	writer := tar.NewWriter(output)
	// WalkDir goes by the names of folders; the order here is that of whole paths.
	var paths []string
	check(filepath.WalkDir(folder, func(path string, found os.DirEntry, err error) error {
		if err == nil && found.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	}))
	slices.Sort(paths)
	for _, path := range paths {
		add(writer, filepath.ToSlash(must(filepath.Rel(folder, path))), 0o644, must(os.ReadFile(path)), given.created)
	}
	check(writer.Close())
	check(output.Close())
}

// add writes one file, owned by root, with nothing in its header that depends on this machine.
func add(writer *tar.Writer, name string, mode int64, content []byte, changed time.Time) {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: changed, Format: tar.FormatUSTAR}
	check(writer.WriteHeader(&header))
	must(writer.Write(content))
}
