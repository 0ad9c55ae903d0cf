//! The join token: what a new machine is given to find the right cluster, and to be let in once.

use crate::authority::Seal;
use crate::{TrustError, digest, random};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ha_core::request::RequestId;
use ha_core::trust::Digest;
use std::fmt;
use std::str::FromStr;

/// What a token begins with.
const PREFIX: &str = "ha1-";
const FINGERPRINT: usize = 32;
const ID: usize = 5;
const SECRET: usize = 24;
const CHECK: usize = 4;

/// See the module. Printed as `ha1-` and 87 letters.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Of the authority that the members of the cluster show.
    pub authority: Digest,
    id: [u8; ID],
    secret: [u8; SECRET],
}

impl Token {
    /// A new one for a cluster with this authority.
    pub fn generate(authority: Digest) -> Result<Token, TrustError> {
        Ok(Token {
            authority,
            id: random()?,
            secret: random()?,
        })
    }

    /// The one that a request is answered with, at each attempt and by each member: made of the seal, which only members
    /// have, so that who knows the request does not know the token.
    pub fn of_request(authority: Digest, seal: &Seal, request: RequestId) -> Token {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seal.0);
        let part = |what: &[u8]| ring::hmac::sign(&key, &[what, &request.0].concat());
        let mut token = Token {
            authority,
            id: [0; ID],
            secret: [0; SECRET],
        };
        token
            .id
            .copy_from_slice(&part(b"join token, id").as_ref()[..ID]);
        token
            .secret
            .copy_from_slice(&part(b"join token, secret").as_ref()[..SECRET]);
        token
    }

    /// Its public name: by this it is listed and revoked.
    pub fn id(&self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// By this the cluster knows its secret.
    pub fn secret(&self) -> Digest {
        digest(&self.secret)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [&self.authority.0[..], &self.id, &self.secret].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The secret does not belong in logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {})", self.authority.short(), self.id())
    }
}

impl FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> Result<Token, String> {
        let damaged = |what: &str| {
            format!(
                "this is no join token ({what}): copy all of what `ha-cli token create` printed, from {PREFIX} to the end"
            )
        };
        let letters = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or_else(|| damaged(&format!("it does not begin with {PREFIX}")))?;
        let bytes = URL_SAFE_NO_PAD
            .decode(letters)
            .map_err(|_| damaged("a letter that no token has, or one too few"))?;
        let (said, check) = bytes
            .split_last_chunk::<CHECK>()
            .filter(|(said, _)| said.len() == FINGERPRINT + ID + SECRET)
            .ok_or_else(|| damaged("it is too short or too long"))?;
        if crc32fast::hash(said).to_be_bytes() != *check {
            return Err(damaged("a letter is wrong"));
        }
        let mut token = Token {
            authority: Digest::default(),
            id: [0; ID],
            secret: [0; SECRET],
        };
        token.authority.0.copy_from_slice(&said[..FINGERPRINT]);
        token
            .id
            .copy_from_slice(&said[FINGERPRINT..FINGERPRINT + ID]);
        token.secret.copy_from_slice(&said[FINGERPRINT + ID..]);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_with_one_token_that_its_asker_could_not_make() {
        let of = |seal: u8, id: u8| {
            let authority = digest(b"authority");
            Token::of_request(authority, &Seal([seal; 32]), RequestId([id; 16]))
        };
        assert_eq!(of(1, 1), of(1, 1));
        for other in [of(2, 1), of(1, 2)] {
            assert_ne!(other.id(), of(1, 1).id());
            assert_ne!(other.secret(), of(1, 1).secret());
        }
        assert_eq!(of(1, 1).to_string().parse(), Ok(of(1, 1)));
    }

    #[test]
    fn a_token_survives_its_text_and_any_change_of_a_letter_is_seen() {
        let token = Token::generate(digest(b"authority")).unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), PREFIX.len() + 87);
        assert_eq!(text.parse::<Token>().unwrap(), token);
        assert_eq!(
            format!(" {text}\n").parse::<Token>().unwrap(),
            token,
            "as it is copied"
        );
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            let other = String::from_utf8(other).unwrap();
            assert!(other.parse::<Token>().is_err(), "{at}");
            assert!(text[..at].parse::<Token>().is_err(), "cut at {at}");
        }
        let shown = format!("{token:?}");
        assert!(
            !shown.contains(&text[60..]) && shown.contains(&token.id()),
            "{shown}"
        );
    }
}
