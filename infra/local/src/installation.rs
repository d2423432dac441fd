//! What an installation keeps beside its table: its signing key and its first key.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use app::ports::{Clock, Ids};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::KeyId;
use domain::key::PresentedKey;

/// The key that signs the tokens of shims; made once.
pub(crate) fn signing_key(data: &Path, ids: &dyn Ids) -> io::Result<[u8; 32]> {
    let kept = kept(&data.join("signing-key"), || URL_SAFE_NO_PAD.encode(ids.secret()))?;
    URL_SAFE_NO_PAD
        .decode(kept.trim())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "signing-key is not 32 bytes"))
}

/// The first key, where none is given; made once.
pub(crate) fn bootstrap_key(data: &Path, ids: &dyn Ids, clock: &dyn Clock) -> io::Result<String> {
    let make = || {
        let id = KeyId::new(ids.ulid(clock.now()));
        PresentedKey::spell(id, &URL_SAFE_NO_PAD.encode(ids.secret()))
    };
    Ok(kept(&data.join("bootstrap-key"), make)?.trim().to_owned())
}

/// What the file holds, which is written whole or not at all, for its owner only.
fn kept(path: &Path, make: impl Fn() -> String) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let fresh = path.with_extension("new");
    let text = make();
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use host::{OsIds, SystemClock};

    use super::*;

    #[test]
    fn what_is_made_once_stays() {
        let data = std::env::temp_dir().join(format!("reeve-installation-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let ids = OsIds::default();
        let clock = SystemClock::default();
        let first =
            (signing_key(&data, &ids).unwrap(), bootstrap_key(&data, &ids, &clock).unwrap());
        let second =
            (signing_key(&data, &ids).unwrap(), bootstrap_key(&data, &ids, &clock).unwrap());
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!(first, second);
        assert!(first.1.parse::<PresentedKey>().is_ok());
    }
}
