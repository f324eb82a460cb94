//! Keys, certificates and tokens of a control plane.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};

use crate::lab::CONTROL_IP;

const ADMIN: &str = "admin";
/// The user whom Kubernetes' own rules make a kube-proxy.
const PROXY: &str = "system:kube-proxy";
const PROXY_TOKEN: &str = "proxy";
/// The API server grants a token this much more than it says, for clocks that differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// The certificate authority, the API server's certificate, the key that signs tokens,
/// and the file of tokens that need no signature.
#[derive(Debug)]
pub struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    token_key: KeyPair,
    paths: Paths,
}

#[derive(Debug)]
struct Paths {
    authority: PathBuf,
    serving_certificate: PathBuf,
    serving_key: PathBuf,
    token_key: PathBuf,
    token_public_key: PathBuf,
    static_tokens: PathBuf,
}

impl Pki {
    /// Makes all of it, as files in `directory`.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn new(directory: &Path) -> Result<Self> {
        let file = |name| directory.join(name);
        let paths = Paths {
            authority: file("ca.crt"),
            serving_certificate: file("serving.crt"),
            serving_key: file("serving.key"),
            token_key: file("token.key"),
            token_public_key: file("token.pub"),
            static_tokens: file("tokens.csv"),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(&paths.authority, authority.pem())?;
        let token_key = KeyPair::generate()?;
        fs::write(&paths.token_key, token_key.serialize_pem())?;
        fs::write(&paths.token_public_key, token_key.public_key_pem())?;
        let tokens = [(ADMIN, "admin", "system:masters"), (PROXY_TOKEN, PROXY, "")];
        let line = |(token, user, group)| format!("{token},{user},{user},{group}\n");
        fs::write(&paths.static_tokens, tokens.map(line).concat())?;
        let pki = Self { authority, token_key, paths };
        pki.renew_serving_certificate(Duration::from_secs(24 * 60 * 60))?;
        Ok(pki)
    }

    /// Writes a new certificate, with a new key, for the API server, that expires
    /// `valid` from now. A server that runs takes it up by itself.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn renew_serving_certificate(&self, valid: Duration) -> Result<()> {
        let names = [CONTROL_IP.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.not_after = (SystemTime::now() + valid).into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.authority)?;
        replace(&self.paths.serving_key, &key.serialize_pem())?;
        replace(&self.paths.serving_certificate, &certificate.pem())
    }

    /// A ServiceAccount's token as the API server would issue it, but with the same
    /// claims as `token` for `valid` from now only: the server issues none for less than
    /// ten minutes. It goes on accepting one that it has just seen for ten seconds.
    ///
    /// # Errors
    /// `token` is none.
    pub fn shorten(&self, token: &str, valid: Duration) -> Result<String> {
        let claims = token.split('.').nth(1).context("a token has three parts")?;
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        let expires = SystemTime::now().duration_since(UNIX_EPOCH)? + valid;
        claims["exp"] = json!(expires.as_secs().saturating_sub(LEEWAY.as_secs()));
        self.sign(token.split('.').next().unwrap_or_default(), &claims)
    }

    fn sign(&self, header: &str, claims: &Value) -> Result<String> {
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let random = SystemRandom::new();
        let key = self.token_key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random);
        let key = key.map_err(|error| anyhow!("the key of tokens: {error}"))?;
        let signature = key.sign(&random, signed.as_bytes());
        let signature = signature.map_err(|error| anyhow!("signing a token: {error}"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The certificate of the authority.
    /// The certificate of the authority.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    pub(super) fn authority_der(&self) -> Vec<u8> {
        self.authority.der().to_vec()
    }

    pub(super) fn admin_token() -> &'static str {
        ADMIN
    }

    pub(super) fn serving_certificate(&self) -> &Path {
        &self.paths.serving_certificate
    }

    pub(super) fn serving_key(&self) -> &Path {
        &self.paths.serving_key
    }

    pub(super) fn token_key(&self) -> &Path {
        &self.paths.token_key
    }

    pub(super) fn token_public_key(&self) -> &Path {
        &self.paths.token_public_key
    }

    pub(super) fn static_tokens(&self) -> &Path {
        &self.paths.static_tokens
    }

    /// The administrator's kubeconfig.
    pub(super) fn admin_kubeconfig(&self, url: &str) -> String {
        self.kubeconfig(url, &json!({ "token": ADMIN }))
    }

    /// A kube-proxy's kubeconfig.
    pub(super) fn proxy_kubeconfig(&self, url: &str) -> String {
        self.kubeconfig(url, &json!({ "token": PROXY_TOKEN }))
    }

    /// The kubeconfig of whoever has a token in a file.
    pub(super) fn kubeconfig_of_token_file(&self, url: &str, token: &Path) -> String {
        self.kubeconfig(url, &json!({ "tokenFile": token }))
    }

    fn kubeconfig(&self, url: &str, user: &Value) -> String {
        let cluster = json!({ "server": url, "certificate-authority": self.paths.authority });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "lab", "cluster": cluster }],
            "users": [{ "name": "lab", "user": user }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
            "current-context": "lab",
        });
        config.to_string()
    }
}

/// In one step, as the kubelet does: nobody reads half of it.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))
}
