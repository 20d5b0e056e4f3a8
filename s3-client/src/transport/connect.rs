//! Opens connections: name resolution, every address in turn, proxy, TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::no_proxy::NoProxy;
use super::proxy::{HttpProxy, open_tunnel};
use super::tls::{TlsConnector, TlsOptions};
use super::{TransportError, TransportErrorKind};
use crate::endpoint::{Authority, Scheme, is_localhost};
use crate::env::Env;
use crate::error::Phase;

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// With or without TLS.
    pub scheme: Scheme,
    /// Trust settings.
    pub tls: TlsOptions,
    /// Proxy to go through.
    pub proxy: Option<HttpProxy>,
    /// Hosts to reach past the proxy.
    pub no_proxy: NoProxy,
    /// Plain HTTP to any host, not only to this machine.
    pub allow_plain_http: bool,
}

/// Either kind of byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) struct Connector {
    env: Env,
    options: ConnectOptions,
    tls: TlsConnector,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(
        env: Env,
        options: ConnectOptions,
        timeout: Duration,
    ) -> Result<Self, String> {
        let tls = TlsConnector::new(options.tls.clone())?;
        Ok(Self {
            env,
            options,
            tls,
            timeout,
        })
    }

    pub(super) async fn connect(
        &self,
        target: &Authority,
    ) -> Result<Box<dyn Stream>, TransportError> {
        let plain = self.options.scheme == Scheme::Http;
        if plain && !self.options.allow_plain_http && !target.is_loopback() {
            return Err(TransportError::connect(
                &target.header,
                false,
                "plain http is refused: it is only for loopback addresses; use tls",
            ));
        }
        let proxy = self.options.proxy.as_ref();
        let stream = match proxy.filter(|_| !self.options.no_proxy.contains(target)) {
            None => self.open(&target.header, &target.host, target.port).await?,
            Some(proxy) => {
                let name = format!("proxy {}:{}", proxy.host, proxy.port);
                let mut stream = self.open(&name, &proxy.host, proxy.port).await?;
                let tunnel = self
                    .in_time(&name, open_tunnel(&mut stream, proxy, target))
                    .await?;
                tunnel.map_err(|refused| {
                    TransportError::connect(&name, refused.retryable, refused.message)
                })?;
                stream
            }
        };
        if plain {
            return Ok(Box::new(stream));
        }
        let handshake = self.tls.handshake(&target.host, stream);
        match self.in_time(&target.header, handshake).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(TransportError::connect(
                &target.header,
                error.retryable,
                error.message,
            )),
        }
    }

    async fn in_time<T>(
        &self,
        target: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, TransportError> {
        tokio::select! {
            result = work => Ok(result),
            () = self.env.sleep(self.timeout) => Err(TransportError::before_sending(
                TransportErrorKind::Timeout(Phase::Connect),
                format!("no connection to {target} within {} s", self.timeout.as_secs()),
            )),
        }
    }

    /// Tries every address of a host, each for the connect timeout.
    async fn open(&self, name: &str, host: &str, port: u16) -> Result<TcpStream, TransportError> {
        let addresses = self.in_time(name, resolve(host, port)).await?;
        let addresses = addresses.map_err(|error| {
            TransportError::connect(name, true, format!("cannot resolve the name: {error}"))
        })?;
        let mut last = TransportError::connect(name, true, "the name has no addresses");
        for address in interleave(addresses) {
            match self.in_time(name, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Only latency is lost if this fails.
                    stream.set_nodelay(true).ok();
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    last = TransportError::connect(name, true, format!("{address}: {error}"));
                }
                Err(timeout) => last = timeout,
            }
        }
        Err(last)
    }
}

async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if is_localhost(host) {
        let addresses = [
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ];
        return Ok(addresses
            .map(|address| SocketAddr::new(address, port))
            .to_vec());
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Alternates between the families, beginning with the one that came first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut first = first.into_iter();
    let mut second = second.into_iter();
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b, c) = (address("[::1]:1"), address("[::2]:1"), address("[::3]:1"));
        let d = address("1.1.1.1:1");
        assert_eq!(interleave(vec![a, b, c, d]), [a, d, b, c]);
        assert_eq!(interleave(vec![d, a]), [d, a]);
        assert_eq!(interleave(vec![]), []);
    }

    /// A server on this machine is not what a proxy knows.
    #[tokio::test]
    async fn this_machine_and_exceptions_are_reached_past_the_proxy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Nobody listens there.
        let proxy = Some("127.0.0.1:1".parse().unwrap());
        let options = |no_proxy: &str| ConnectOptions {
            scheme: Scheme::Http,
            allow_plain_http: true,
            proxy: proxy.clone(),
            no_proxy: no_proxy.parse().unwrap(),
            ..ConnectOptions::default()
        };
        let connect = async |no_proxy: &str, host: &str| {
            let patience = Duration::from_millis(200);
            let connector = Connector::new(Env::system(), options(no_proxy), patience).unwrap();
            let target = Authority {
                host: host.into(),
                port,
                header: host.into(),
            };
            connector.connect(&target).await.map(|_| ())
        };
        connect("", "127.0.0.1").await.unwrap();
        connect("", "localhost").await.unwrap();
        // TEST-NET: through the proxy, which does not answer; past it, nobody does.
        let through = connect("", "192.0.2.1").await.unwrap_err();
        assert!(
            through.message.contains("127.0.0.1:1"),
            "{}",
            through.message
        );
        let past = connect("192.0.2.0/24", "192.0.2.1").await.unwrap_err();
        assert!(!past.message.contains("127.0.0.1:1"), "{}", past.message);
    }

    #[tokio::test]
    async fn plain_http_leaves_the_machine_only_when_allowed() {
        let connector = |allow_plain_http| {
            let options = ConnectOptions {
                scheme: Scheme::Http,
                allow_plain_http,
                ..ConnectOptions::default()
            };
            Connector::new(Env::system(), options, Duration::from_millis(200)).unwrap()
        };
        // TEST-NET: nobody answers, but only one of the two is refused before trying.
        let remote = Authority {
            host: "192.0.2.1".into(),
            port: 9,
            header: "192.0.2.1:9".into(),
        };
        let refused = connector(false).connect(&remote).await.err().unwrap();
        assert!(refused.message.contains("plain http is refused"));
        let failed = connector(true).connect(&remote).await.err().unwrap();
        assert!(
            !failed.message.contains("plain http is refused"),
            "{}",
            failed.message
        );
    }
}
