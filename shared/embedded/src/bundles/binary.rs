//! A bundle of one download: an archive, or the program itself.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use app::bundles::at;
use app::ports::{Fetch, FetchRequest, MakeError};
use domain::Digest;
use domain::bundle::inside;
use sha2::{Digest as _, Sha256};

use super::archive::{Form, unpack};
use super::{Config, Raw, Staging, apart, passing};

pub(super) async fn make(
    config: &Config,
    fetch: &dyn Fetch,
    staging: &Staging,
    url: &str,
    cmd: &str,
    sha256: Option<Digest>,
) -> Result<Raw, MakeError> {
    let program = inside(cmd)
        .ok_or_else(|| MakeError::failed("no_command", format!("{cmd} leads out of the bundle")))?;
    let path = staging.dir.join("download");
    let mut download =
        Download { file: File::create(&path).map_err(passing)?, hash: Sha256::new() };
    let request = FetchRequest {
        url: url.to_owned(),
        etag: None,
        accept: "*/*",
        limit: config.limits.download,
        timeout: config.limits.time,
    };
    fetch.fetch(&request, &mut download).await.map_err(|error| at(url, &error))?;
    let found = Digest::new(download.hash.finalize().into());
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        let detail = format!("{url} is {found}, and the registry says {expected}");
        return Err(MakeError::failed("digest_mismatch", detail));
    }
    let (tree, limits, form) = (staging.tree(), config.limits, Form::of(url));
    let entry = format!("{{bundle}}/{program}");
    apart(move || {
        if let Some(form) = form {
            unpack(form, &path, &tree, &limits)?;
        } else {
            let place = tree.join(&program);
            place.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(passing)?;
            std::fs::rename(&path, &place).map_err(passing)?;
        }
        let place = tree.join(&program);
        if !place.is_file() {
            let detail = format!("there is no {program} in what was downloaded");
            return Err(MakeError::failed("no_command", detail));
        }
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).map_err(passing)
    })
    .await?;
    Ok(Raw { entrypoint: vec![entry], env: std::collections::BTreeMap::new() })
}

/// A file that is hashed while it is written.
struct Download {
    file: File,
    hash: Sha256,
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
