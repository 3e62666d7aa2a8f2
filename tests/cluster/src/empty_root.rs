//! What the program sees as `/` in a container without a base image: itself, and what a kubelet mounts; read-only, and not for root.
//!
//! The caller must be root, in a separate mount namespace (`unshare --mount`).

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scratch::Scratch;

/// User and group of the image.
pub const USER: u32 = 65532;

/// Name server in the root's resolv.conf.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 153);

const SERVICE_ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// Root file system, removed on drop. The programs in it must have ended by then.
pub struct EmptyRoot {
    folder: Scratch,
    emulated: bool,
}

impl EmptyRoot {
    /// Makes a root with the program and an optional emulator.
    #[track_caller]
    pub fn with(program: &Path, emulator: Option<&Path>) -> Self {
        let folder = Scratch::new();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::copy(program, folder.path().join("reboot-manager")).expect("the program");
        if let Some(emulator) = emulator {
            fs::copy(emulator, folder.path().join("emulator")).expect("the emulator");
        }
        Self { folder, emulated: emulator.is_some() }
    }

    /// Returns the command that starts the program in this root, as its user.
    pub fn command(&self) -> Vec<OsString> {
        let user = format!("--userspec={USER}:{USER}");
        let mut command = vec!["/usr/sbin/chroot".into(), user.into(), self.folder.path().into()];
        if self.emulated {
            command.push("/emulator".into());
        }
        command.push("/reboot-manager".into());
        command
    }

    /// Adds what a kubelet mounts into a pod, and makes the root read-only.
    #[track_caller]
    pub fn mount(&self, token: &str, authority: &str, namespace: &str) {
        let write = |path: &str, text: &str| drop(self.folder.file(path, text));
        write(
            "etc/resolv.conf",
            &format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n", NAME_SERVER),
        );
        write(&format!("{SERVICE_ACCOUNT}/token"), token);
        write(&format!("{SERVICE_ACCOUNT}/ca.crt"), authority);
        write(&format!("{SERVICE_ACCOUNT}/namespace"), namespace);
        for options in [&["--bind"][..], &["-o", "remount,ro,bind"]] {
            let mounted = Command::new("mount").args(options).arg(self.folder.path()).arg(self.folder.path()).status().expect("mount");
            assert!(mounted.success(), "mount {options:?}: {mounted}");
        }
    }

    /// Checks that not even root can write.
    #[track_caller]
    pub fn is_read_only(&self) {
        let error = fs::write(self.folder.path().join("x"), "").expect_err("the root is writable");
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{error}");
    }
}

impl Drop for EmptyRoot {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).stderr(Stdio::null()).status();
    }
}
