//! What goes wrong, in words: what ends a command or the agent, and why a request is not done. What carries a request
//! gives its refusal a code of its own.

/// What ends an agent or one of its commands, told as its text.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RequestError {
    /// What kind of refusal it is.
    pub why: Why,
    /// What was found, and what would help.
    pub text: String,
}

/// Kinds of refusal: what a caller does about them differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The request itself is wrong.
    InvalidArgument,
    /// What it names is not there.
    NotFound,
    /// What it would make is there already.
    AlreadyExists,
    /// It is right, but not as things are.
    FailedPrecondition,
    /// The caller may not.
    PermissionDenied,
    /// Nobody knows who the caller is.
    Unauthenticated,
    /// Too often, or too much.
    ResourceExhausted,
    /// Nobody can answer at the moment. Nothing was done: trying again helps.
    Unavailable,
    /// There is no majority. Nothing was done: trying again does not help before it is back.
    CutOff,
    /// Nothing was done before the caller says that it is meant.
    Confirm,
    /// It was begun and ended otherwise than asked for.
    Aborted,
    /// It may still be done, but not in time.
    DeadlineExceeded,
    /// There is no such question.
    Unimplemented,
    /// A defect in the agent itself; the log says more.
    Internal,
}

macro_rules! constructors {
    ($($name:ident $why:ident),* $(,)?) => {
        impl RequestError {
            $(
                #[doc = concat!("With [`Why::", stringify!($why), "`].")]
                pub fn $name(text: impl Into<String>) -> RequestError {
                    RequestError { why: Why::$why, text: text.into() }
                }
            )*
        }
    };
}
constructors! {
    invalid_argument InvalidArgument,
    not_found NotFound,
    already_exists AlreadyExists,
    failed_precondition FailedPrecondition,
    permission_denied PermissionDenied,
    unauthenticated Unauthenticated,
    resource_exhausted ResourceExhausted,
    unavailable Unavailable,
    cut_off CutOff,
    confirm Confirm,
    aborted Aborted,
    deadline_exceeded DeadlineExceeded,
    unimplemented Unimplemented,
    internal Internal,
}
