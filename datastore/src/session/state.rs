//! What a session may do when, and which archive names it has given away.
//!
//! A session is *open* until its finish begins; from then on no other call of it goes on: an index
//! or a blob that is stored while the manifest is on its way would be missing in it, or vanish with
//! the cleanup while it is being written. A finish that was refused before anything was done leaves
//! the session open, one that failed later leaves it fit for the cleanup only.
//!
//! A name belongs to one archive from the moment it is claimed, so that two calls cannot store the
//! same one. Once its object may have been sent, it stays taken even if storing it failed: what a
//! late request does to that key must not be taken for a second attempt. Without a bucket there are
//! no late requests, and an archive that is stored may be stored once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use api_types::digest::Digest;
use api_types::names::{ArchiveName, BackupDir};

use crate::error::{Error, Result};
use crate::format::manifest::ChunkUploadStats;

use super::index::{OpenIndex, WriterId};
use super::{SessionFile, WriterSession};

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    #[default]
    Open,
    Finishing,
    Failed,
    Finished,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Archive {
    /// Somebody writes it; nothing of it was sent.
    Claimed,
    /// Its object may be in the bucket, its file is not visible.
    Sent,
    Stored,
}

#[derive(Debug, Default)]
pub(super) struct SessionState {
    phase: Phase,
    /// Calls under way.
    calls: usize,
    archives: BTreeMap<String, Archive>,
    /// Chunks that an index may name, with their plaintext length.
    pub known: HashMap<Digest, u32>,
    pub writers: HashMap<WriterId, Arc<Mutex<OpenIndex>>>,
    pub next_writer: u32,
    pub files: Vec<SessionFile>,
    pub stats: ChunkUploadStats,
}

impl SessionState {
    fn refuse_unless_open(&self, action: &str, dir: &BackupDir) -> Result<()> {
        let why = match self.phase {
            Phase::Open => return Ok(()),
            Phase::Finishing => "it is being finished",
            Phase::Failed => "finishing it has failed, it can only be aborted",
            Phase::Finished => "it is finished",
        };
        Err(Error::Refused(format!(
            "unable to {action} for backup {dir}: {why}"
        )))
    }

    fn refuse_unless_complete(&self, dir: &BackupDir) -> Result<()> {
        let refuse = |why: String| Err(Error::Refused(format!("unable to finish {dir}: {why}")));
        if self.calls > 0 {
            return refuse(format!("{} calls are still under way", self.calls));
        }
        if !self.writers.is_empty() {
            let count = self.writers.len();
            return refuse(format!("{count} index writers are still open"));
        }
        let mut archives = self.archives.iter();
        match archives.find(|(_, archive)| **archive != Archive::Stored) {
            None => Ok(()),
            Some((name, _)) => refuse(format!("archive {name} was not stored completely")),
        }
    }
}

/// A call of an open session, for as long as it is under way.
#[derive(Debug)]
pub(super) struct Call<'a>(&'a WriterSession);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.state().calls -= 1;
    }
}

/// A finish under way; unless it [succeeds](Self::succeed), the session has failed.
#[derive(Debug)]
pub(super) struct Finish<'a>(Option<&'a WriterSession>);

impl Finish<'_> {
    pub fn succeed(mut self) {
        if let Some(session) = self.0.take() {
            session.state().phase = Phase::Finished;
        }
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.state().phase = Phase::Failed;
        }
    }
}

/// An archive name; free again if this is dropped before anything was sent.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    session: &'a WriterSession,
    name: ArchiveName,
    kept: bool,
}

impl Claim<'_> {
    /// The object is about to be sent: from here on the name stays taken, and whatever becomes of
    /// the session, the object is looked after.
    pub fn send(&mut self) {
        self.kept = true;
        self.session.hold.may_have_sent(self.name.as_str());
        self.set(Archive::Sent);
    }

    /// The archive is stored and visible.
    pub fn stored(mut self, file: SessionFile) {
        self.kept = true;
        self.set(Archive::Stored);
        let files = &mut self.session.state().files;
        files.retain(|stored| stored.name != file.name);
        files.push(file);
    }

    /// An index writer has the name now; [`WriterSession::reclaim`] takes it over again.
    pub fn hand_over(mut self) -> ArchiveName {
        self.kept = true;
        self.name.clone()
    }

    fn set(&self, archive: Archive) {
        let mut state = self.session.state();
        state.archives.insert(self.name.to_string(), archive);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut state = self.session.state();
        if state.files.iter().any(|file| file.name == self.name) {
            // It was to be replaced, and is not.
            state
                .archives
                .insert(self.name.to_string(), Archive::Stored);
        } else {
            state.archives.remove(self.name.as_str());
        }
    }
}

impl WriterSession {
    /// Begins a call; refused unless the session is open.
    pub(super) fn begin(&self, action: &str) -> Result<Call<'_>> {
        let mut state = self.state();
        state.refuse_unless_open(action, &self.dir)?;
        state.calls += 1;
        Ok(Call(self))
    }

    /// Begins the finish; refused, with the session still open, unless everything is stored and
    /// no call is under way.
    pub(super) fn begin_finish(&self) -> Result<Finish<'_>> {
        let mut state = self.state();
        state.refuse_unless_open("write a manifest", &self.dir)?;
        state.refuse_unless_complete(&self.dir)?;
        state.phase = Phase::Finishing;
        Ok(Finish(Some(self)))
    }

    /// Claims a name that no archive of this session has, or one that may be replaced.
    pub(super) fn claim(&self, name: &ArchiveName) -> Result<Claim<'_>> {
        let mut state = self.state();
        match state.archives.get(name.as_str()) {
            None => {}
            Some(Archive::Stored) if self.client.is_none() => {}
            Some(_) => {
                return Err(Error::Exists {
                    what: format!("archive {name} of this backup"),
                });
            }
        }
        state.archives.insert(name.to_string(), Archive::Claimed);
        Ok(Claim {
            session: self,
            name: name.clone(),
            kept: false,
        })
    }

    /// Takes over the claim of an index writer that is gone now.
    pub(super) fn reclaim(&self, name: ArchiveName) -> Claim<'_> {
        Claim {
            session: self,
            name,
            kept: false,
        }
    }
}
