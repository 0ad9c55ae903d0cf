//! gRPC: the guard, what peers ask, what operators ask. Thin: answers come from `ha-node` and `operate`.

pub mod control;
pub mod elsewhere;
pub mod guard;
mod leader;
pub mod peers;

use crate::operate::{RequestError, Why};
use tonic::{Code, Status};

const CODES: [(Why, Code); 12] = [
    (Why::InvalidArgument, Code::InvalidArgument),
    (Why::NotFound, Code::NotFound),
    (Why::AlreadyExists, Code::AlreadyExists),
    (Why::FailedPrecondition, Code::FailedPrecondition),
    (Why::PermissionDenied, Code::PermissionDenied),
    (Why::Unauthenticated, Code::Unauthenticated),
    (Why::ResourceExhausted, Code::ResourceExhausted),
    (Why::Unavailable, Code::Unavailable),
    (Why::Aborted, Code::Aborted),
    (Why::DeadlineExceeded, Code::DeadlineExceeded),
    (Why::Unimplemented, Code::Unimplemented),
    (Why::Internal, Code::Internal),
];

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        let code = CODES.iter().find(|(why, _)| *why == error.why);
        Status::new(code.map_or(Code::Unknown, |(_, code)| *code), error.text)
    }
}

/// What a refusal was, before gRPC said it.
fn why_of(status: &Status) -> Option<Why> {
    let why = CODES.iter().find(|(_, code)| *code == status.code());
    why.map(|(why, _)| *why)
}
