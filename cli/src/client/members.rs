//! The calls about who belongs to the cluster: nodes, join tokens, operators, certificate authorities, backup.

use ha_proto::control::{
    AddUserRequest, AuthoritiesReply, AuthoritiesRequest, BackupReply, BackupRequest,
    CreateTokenReply, CreateTokenRequest, PromoteMemberRequest, RemoveMemberRequest,
    RemoveUserRequest, RenewReply, RenewRequest, RetireAuthorityRequest, RevokeTokenRequest,
    RotateAuthorityRequest, TokensReply, TokensRequest, UsersReply, UsersRequest,
};

use super::{Client, Cluster, Retry, asked_by};
use crate::exit::Failure;

/// Largest backup that is taken, in bytes.
const BACKUP_MAX: usize = 64 << 20;

/// Each fails with what the cluster said, or that nobody answered. A text that comes back is a sentence
/// of the cluster about what was done.
impl Cluster {
    /// Takes a node out of the cluster for good.
    pub async fn remove_member(&mut self, node: String, force: bool) -> Result<String, Failure> {
        let question = RemoveMemberRequest {
            node,
            force,
            by: asked_by(),
        };
        let call = async |mut c: Client, q| c.remove_member(q).await;
        Ok(self.ask(Retry::No, question, call).await?.message)
    }

    pub async fn promote_member(&mut self, node: String) -> Result<String, Failure> {
        let by = asked_by();
        let question = PromoteMemberRequest { node, by };
        let call = async |mut c: Client, q| c.promote_member(q).await;
        Ok(self.ask(Retry::No, question, call).await?.message)
    }

    /// What a new cluster of the same identity is made from, not encrypted yet.
    pub async fn backup(&mut self) -> Result<BackupReply, Failure> {
        let question = BackupRequest { by: asked_by() };
        let call = async |c: Client, q| c.max_decoding_message_size(BACKUP_MAX).backup(q).await;
        self.ask(Retry::Yes, question, call).await
    }

    /// A join token that is good for `ttl_ms` milliseconds; the reply is the only place where it is seen.
    pub async fn create_token(
        &mut self,
        ttl_ms: u64,
        role: String,
    ) -> Result<CreateTokenReply, Failure> {
        let question = CreateTokenRequest {
            ttl_ms,
            role,
            by: asked_by(),
            asked: None,
        };
        let call = async |mut c: Client, q| c.create_token(q).await;
        self.change(question, call).await
    }

    /// The join tokens that the cluster remembers, in whatever state.
    pub async fn tokens(&mut self) -> Result<TokensReply, Failure> {
        let call = async |mut c: Client, q| c.tokens(q).await;
        self.ask(Retry::Yes, TokensRequest {}, call).await
    }

    pub async fn revoke_token(&mut self, id: String) -> Result<String, Failure> {
        let question = RevokeTokenRequest {
            id,
            by: asked_by(),
            asked: None,
        };
        let call = async |mut c: Client, q| c.revoke_token(q).await;
        Ok(self.change(question, call).await?.message)
    }

    /// Lets an operator in who has the key of this certificate request (PKCS #10, DER).
    pub async fn add_user(
        &mut self,
        name: String,
        role: String,
        request: Vec<u8>,
    ) -> Result<RenewReply, Failure> {
        let question = AddUserRequest {
            name,
            role,
            request,
            by: asked_by(),
            asked: None,
        };
        let call = async |mut c: Client, q| c.add_user(q).await;
        self.change(question, call).await
    }

    /// A new certificate for the operator who asks, for the key of this request (PKCS #10, DER).
    pub async fn renew(&mut self, request: Vec<u8>) -> Result<RenewReply, Failure> {
        let question = RenewRequest {
            request,
            name: String::new(),
        };
        let call = async |mut c: Client, q| c.renew(q).await;
        self.ask(Retry::Yes, question, call).await
    }

    pub async fn users(&mut self) -> Result<UsersReply, Failure> {
        let call = async |mut c: Client, q| c.users(q).await;
        self.ask(Retry::Yes, UsersRequest {}, call).await
    }

    /// Shuts an operator out.
    pub async fn remove_user(&mut self, name: String) -> Result<String, Failure> {
        let by = asked_by();
        let question = RemoveUserRequest {
            name,
            by,
            asked: None,
        };
        let call = async |mut c: Client, q| c.remove_user(q).await;
        Ok(self.change(question, call).await?.message)
    }

    /// The certificate authorities, and who has not followed the last change.
    pub async fn authorities(&mut self) -> Result<AuthoritiesReply, Failure> {
        let call = async |mut c: Client, q| c.authorities(q).await;
        self.ask(Retry::Yes, AuthoritiesRequest {}, call).await
    }

    /// Begins the change to another authority.
    pub async fn rotate_authority(&mut self) -> Result<String, Failure> {
        let question = RotateAuthorityRequest {
            by: asked_by(),
            asked: None,
        };
        let call = async |mut c: Client, q| c.rotate_authority(q).await;
        Ok(self.change(question, call).await?.message)
    }

    /// Stops trusting the old authority now, with `force` even if nodes are shut out by that.
    pub async fn retire_authority(&mut self, force: bool) -> Result<String, Failure> {
        let by = asked_by();
        let question = RetireAuthorityRequest {
            by,
            force,
            asked: None,
        };
        let call = async |mut c: Client, q| c.retire_authority(q).await;
        Ok(self.change(question, call).await?.message)
    }
}
