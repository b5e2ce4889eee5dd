//! Who may use the admin API.

use http::request::Parts;
use http::{Method, StatusCode, header};
use tidegate_config::plan;

/// Who may use it, of one configuration.
#[derive(Default)]
pub(super) struct Access {
    token: Option<String>,
    /// It listens where only this machine can reach it, and by no name that a certificate vouches for.
    local: bool,
    /// Clients need not show a certificate; those that do need no token.
    by_certificate: bool,
    operates: bool,
    taps_bodies: bool,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By the address.
    Address,
    /// By the address, from a client that has shown a certificate.
    Certified,
    /// By the socket, which is for this machine's own.
    Socket,
}

/// Why a request is not answered, and how this is said.
pub(super) type Refusal = (StatusCode, &'static str);

impl Access {
    /// As configured.
    pub(super) fn of(settings: &plan::Admin) -> Self {
        let local =
            settings.tls.is_none() && settings.address.is_none_or(|address| address.ip().is_loopback());
        let asked = settings.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        let by_certificate = asked.is_some_and(|asked| !asked.required);
        Self {
            token: settings.token.clone(),
            local,
            by_certificate,
            operates: settings.operates,
            taps_bodies: settings.tap.bodies,
        }
    }

    /// Whether log levels, reloads and the end may be asked for.
    pub(super) fn operates(&self) -> bool {
        self.operates
    }

    /// Whether taps may show bodies.
    pub(super) fn taps_bodies(&self) -> bool {
        self.taps_bodies
    }

    /// Whether a request may be answered. What is `open` needs no token: probes and the dashboard's own files.
    pub(super) fn check(&self, head: &Parts, way: Way, open: bool) -> Result<(), Refusal> {
        let text = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        // A page elsewhere can have its own name lead to this machine, and then read what is answered.
        if self.local && !is_local_name(host) {
            return Err((
                StatusCode::MISDIRECTED_REQUEST,
                "the admin API is asked for by address or as localhost\n",
            ));
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            let own = text(header::ORIGIN)
                .is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host));
            if !own || head.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
                return Err((StatusCode::FORBIDDEN, "another site's page may not do that\n"));
            }
        }
        if open || self.by_certificate && way == Way::Certified {
            return Ok(());
        }
        let Some(token) = self.token.as_deref() else {
            return match self.by_certificate && way == Way::Address {
                true => Err((
                    StatusCode::FORBIDDEN,
                    "a client certificate is wanted, with admin.tls.clientAuth\n",
                )),
                false => Ok(()),
            };
        };
        let given =
            text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        match aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), token.as_bytes()) {
            Ok(()) => Ok(()),
            Err(_) => {
                Err((StatusCode::UNAUTHORIZED, "authorization: Bearer TOKEN is wanted, with admin.token\n"))
            }
        }
    }
}

/// An address, or `localhost` and what is below it (RFC 6761, 6.3), with or without a port. No name at all is what clients of
/// Unix sockets send.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    name.is_empty()
        || address.parse::<std::net::IpAddr>().is_ok()
        || lower == "localhost"
        || lower.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/config");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("valid").into_parts().0
    }

    fn status(access: &Access, method: &str, fields: &[(&str, &str)], open: bool) -> u16 {
        access
            .check(&head(method, fields), Way::Address, open)
            .err()
            .map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_answered_on_loopback() {
        let local = Access { local: true, ..Access::default() };
        for host in ["127.0.0.1:9900", "[::1]:9900", "localhost", "a.localhost:9900", "", "10.1.2.3"] {
            assert_eq!(status(&local, "GET", &[("host", host)], false), 200, "{host}");
        }
        for host in ["rebound.example:9900", "localhost.example", "127.0.0.1.example"] {
            assert_eq!(status(&local, "GET", &[("host", host)], true), 421, "{host}");
        }
        let network = Access::default();
        assert_eq!(status(&network, "GET", &[("host", "tidegate.ops.svc:9900")], false), 200);
    }

    #[test]
    fn other_sites_change_nothing() {
        let access = Access { local: true, ..Access::default() };
        let here = ("host", "127.0.0.1:9900");
        assert_eq!(status(&access, "POST", &[here], false), 200, "no browser");
        assert_eq!(status(&access, "POST", &[here, ("origin", "http://127.0.0.1:9900")], false), 200);
        for field in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
        {
            assert_eq!(status(&access, "POST", &[here, field], false), 403, "{field:?}");
        }
    }

    #[test]
    fn a_token_is_wanted_but_by_probes() {
        let access = Access { token: Some("0123456789abcdef".to_owned()), ..Access::default() };
        let right = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(status(&access, "GET", &[right], false), 200);
        for wrong in [
            "Bearer 0123456789abcdeg",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdef0",
        ] {
            assert_eq!(status(&access, "GET", &[("authorization", wrong)], false), 401, "{wrong}");
        }
        assert_eq!(status(&access, "GET", &[], false), 401);
        assert_eq!(status(&access, "GET", &[], true), 200);
    }

    #[test]
    fn where_certificates_are_optional_one_or_the_token_is_wanted() {
        let token = Some("0123456789abcdef".to_owned());
        let either = Access { token, by_certificate: true, ..Access::default() };
        let only = Access { by_certificate: true, ..Access::default() };
        let status = |access: &Access, way, open| {
            access.check(&head("GET", &[]), way, open).err().map_or(200, |(status, _)| status.as_u16())
        };
        for (access, way, expected) in [
            (&either, Way::Certified, 200),
            (&either, Way::Address, 401),
            (&either, Way::Socket, 401),
            (&only, Way::Certified, 200),
            (&only, Way::Address, 403),
            (&only, Way::Socket, 200),
        ] {
            assert_eq!(status(access, way, false), expected, "{way:?}");
            assert_eq!(status(access, way, true), 200, "{way:?}");
        }
    }
}
