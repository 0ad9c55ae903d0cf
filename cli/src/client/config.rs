//! The calls about the cluster's configuration and its versions.

use ha_proto::control::{
    ApplyReply, ApplyRequest, ConfigHistoryReply, ConfigHistoryRequest, RollbackRequest,
};
use serde::Serialize;

use super::{Client, Cluster, Retry, asked_by};
use crate::exit::{Exit, Failure};

/// The result of `apply`, `diff` and `rollback`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// Whether anything was changed: the call knows that, the reply does not say it.
    pub applied: bool,
    /// The version that is in force afterwards, the difference, and what is wrong with the file.
    #[serde(flatten)]
    pub reply: ApplyReply,
}

/// Each fails with what the cluster said, or that nobody answered.
impl Cluster {
    /// Applies a configuration, if `expect_version` is in force (0 = whatever is).
    pub async fn apply(
        &mut self,
        text: String,
        file: String,
        expect_version: u64,
    ) -> Result<Applied, Failure> {
        let question = about(text, file, expect_version, false);
        let call = async |mut c: Client, q| c.apply(q).await;
        let reply = self.change(question, call).await;
        Ok(Applied::from(reply.map_err(invalid)?))
    }

    /// What `apply` would change.
    pub async fn diff(
        &mut self,
        text: String,
        file: String,
        expect_version: u64,
    ) -> Result<Applied, Failure> {
        let question = about(text, file, expect_version, true);
        let call = async |mut c: Client, q| c.diff(q).await;
        let reply = self.ask(Retry::Yes, question, call).await;
        Ok(Applied {
            applied: false,
            reply: reply.map_err(invalid)?,
        })
    }

    /// Goes back to a version (0 = the one before the current), if `expect_version` is in force (0 = whatever is).
    pub async fn rollback(
        &mut self,
        version: u64,
        expect_version: u64,
    ) -> Result<Applied, Failure> {
        let question = RollbackRequest {
            version,
            expect_version,
            by: asked_by(),
            asked: None,
        };
        let call = async |mut c: Client, q| c.rollback(q).await;
        let reply = self.change(question, call).await?;
        Ok(Applied::from(reply))
    }

    /// The versions that are kept, without their texts (0), or one with its text.
    pub async fn config_history(&mut self, version: u64) -> Result<ConfigHistoryReply, Failure> {
        let question = ConfigHistoryRequest { version };
        let call = async |mut c: Client, q| c.config_history(q).await;
        self.ask(Retry::Yes, question, call).await
    }
}

/// The reply to a change: it was made unless there are problems.
fn about(text: String, file: String, expect_version: u64, dry_run: bool) -> ApplyRequest {
    ApplyRequest {
        text,
        file,
        dry_run,
        expect_version,
        by: asked_by(),
        asked: None,
    }
}

impl From<ApplyReply> for Applied {
    fn from(reply: ApplyReply) -> Self {
        Applied {
            applied: reply.problems.is_empty(),
            reply,
        }
    }
}

/// What the cluster calls a wrong argument is the file here, not the command line.
fn invalid(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Usage => Failure {
            exit: Exit::Invalid,
            ..failure
        },
        _ => failure,
    }
}
