//! The file that keeps whom a node believes and what it shows.

use super::*;

/// Compiles for what is overwritten when it goes.
fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}

#[test]
fn a_keyring_is_private_and_survives_the_disk() {
    let (ca, dir) = (authority(), tempfile::tempdir().unwrap());
    let papers = Papers::of(&ca, &Subject::Node(id(1)));
    let ring = Keyring {
        generation: 3,
        authorities: vec![ca.certificate().to_vec()],
        crosses: Vec::new(),
        certificate: papers.certificate,
        key: papers.key.into(),
        seal: Seal::generate().unwrap(),
    };
    is_wiped(&ring.key);
    ring.save(dir.path()).unwrap();
    ring.save(dir.path()).unwrap();
    assert!(Keyring::load(dir.path()).unwrap() == ring);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(Keyring::path(dir.path()))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }
    let store = TrustStore::open(dir.path()).unwrap();
    let before = store.live();
    assert_eq!(before.credentials().shows, ca.fingerprint());
    let foreign = authority();
    let wrong = Keyring {
        key: Papers::of(&foreign, &Subject::Node(id(1))).key.into(),
        ..ring.clone()
    };
    assert!(
        store.replace(wrong).is_err(),
        "a key that is not the certificate's"
    );
    assert!(
        Keyring::load(dir.path()).unwrap() == ring,
        "and nothing has changed"
    );
    store
        .replace(Keyring {
            generation: 4,
            authorities: vec![ca.certificate().to_vec(), foreign.certificate().to_vec()],
            ..ring
        })
        .unwrap();
    assert_eq!(
        store.live().credentials().trusts,
        [ca.fingerprint(), foreign.fingerprint()]
    );
    let text = std::fs::read_to_string(Keyring::path(dir.path())).unwrap();
    for cut in [0, 1, text.len() / 2, text.len() - 2] {
        std::fs::write(Keyring::path(dir.path()), &text[..cut]).unwrap();
        assert!(Keyring::load(dir.path()).is_err());
    }
}
