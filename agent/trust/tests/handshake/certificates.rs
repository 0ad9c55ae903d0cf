//! What a certificate says, what is signed, and what opens the key that signs.

use super::*;

#[test]
fn a_certificate_says_whom_it_names_and_who_signed_it() {
    let (mine, other) = (authority(), authority());
    for subject in [
        Subject::Node(id(1)),
        user(Access::Viewer),
        user(Access::Admin),
    ] {
        let (_, asked) = request().unwrap();
        let at = now();
        let read = CertificateClaims::of(
            &mine
                .sign(&asked, &subject, id(9), at, CERTIFICATE_LIFETIME)
                .unwrap(),
        )
        .unwrap();
        assert_eq!((&read.subject, read.cluster), (&subject, id(9)));
        assert_eq!(read.key, requested_key(&asked).unwrap());
        assert!(
            read.signed_by == key_id(mine.certificate()).unwrap()
                && read.signed_by != key_id(other.certificate()).unwrap()
        );
        assert_eq!(
            read.until.0 / 1000,
            (at.0 + CERTIFICATE_LIFETIME.as_millis() as u64) / 1000
        );
        assert_eq!(
            read.from.0 / 1000,
            (at.0 - BACKDATED.as_millis() as u64) / 1000
        );
    }
    assert!(
        CertificateClaims::of(mine.certificate()).is_err(),
        "an authority names nobody"
    );
    assert!(CertificateClaims::of(b"bytes").is_err());
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (_, good) = request().unwrap();
    let mut last = good.clone();
    *last.last_mut().unwrap() ^= 1;
    assert!(
        authority()
            .sign(
                &last,
                &Subject::Node(id(1)),
                id(9),
                now(),
                CERTIFICATE_LIFETIME
            )
            .is_err()
    );
    assert!(
        authority()
            .sign(
                &good[..good.len() - 1],
                &Subject::Node(id(1)),
                id(9),
                now(),
                CERTIFICATE_LIFETIME
            )
            .is_err()
    );
    assert!(requested_key(b"bytes").is_err());
}

#[test]
fn the_authoritys_key_opens_with_its_seal_only() {
    let (mine, seal) = (authority(), Seal::generate().unwrap());
    let sealed = mine.sealed_key(&seal).unwrap();
    assert_ne!(
        sealed,
        mine.sealed_key(&seal).unwrap(),
        "each time with a nonce of its own"
    );
    let opened = Authority::open(mine.certificate(), &sealed, &seal).unwrap();
    let papers = Papers::of(&opened, &Subject::Node(id(1)));
    assert_eq!(
        CertificateClaims::of(&papers.certificate)
            .unwrap()
            .signed_by,
        key_id(mine.certificate()).unwrap()
    );
    assert!(Authority::open(mine.certificate(), &sealed, &Seal::generate().unwrap()).is_err());
    assert!(
        Authority::open(authority().certificate(), &sealed, &seal).is_err(),
        "it is not another authority's key"
    );
    for at in [0, sealed.len() / 2, sealed.len() - 1] {
        let mut other = sealed.clone();
        other[at] ^= 1;
        assert!(Authority::open(mine.certificate(), &other, &seal).is_err());
        assert!(Authority::open(mine.certificate(), &sealed[..at], &seal).is_err());
    }
}
