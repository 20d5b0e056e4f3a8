//! How fast the connections to another server may be.

use std::sync::Arc;

use api_types::human::ByteSize;
use client::remote::{Shape, Stream};
use s3_client::env::Env;
use tokio::net::TcpStream;

use crate::traffic::stream::{LimitedStream, Limits};
use crate::traffic::{Flow, Flows};

/// Bytes a second, and at once: a second's worth where that is not said. No limit where there is
/// no rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// To receive.
    pub rate_in: Option<ByteSize>,
    /// To receive at once.
    pub burst_in: Option<ByteSize>,
    /// To send.
    pub rate_out: Option<ByteSize>,
    /// To send at once.
    pub burst_out: Option<ByteSize>,
}

impl Rates {
    /// What keeps connections to these rates, all of them together.
    pub(super) fn shape(&self, env: &Env) -> Option<Arc<dyn Shape>> {
        if self.rate_in.is_none() && self.rate_out.is_none() {
            return None;
        }
        let flows = Flows {
            incoming: Flow::new(env, self.rate_in, self.burst_in),
            outgoing: Flow::new(env, self.rate_out, self.burst_out),
        };
        Some(Arc::new(Shared(Arc::new(Fixed {
            env: env.clone(),
            flows: Arc::new(flows),
        }))))
    }
}

/// Limits that stay as they are.
#[derive(Debug)]
struct Fixed {
    env: Env,
    flows: Arc<Flows>,
}

impl Limits for Fixed {
    fn env(&self) -> &Env {
        &self.env
    }

    fn flows(&self) -> Option<Arc<Flows>> {
        Some(Arc::clone(&self.flows))
    }

    fn is_outdated(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Shared(Arc<Fixed>);

impl Shape for Shared {
    fn shape(&self, tcp: TcpStream) -> Box<dyn Stream> {
        Box::new(LimitedStream::new(tcp, Arc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_share_a_rate_in_each_direction() {
        let env = Env::system();
        let rates = Rates {
            rate_out: Some("200 KB".parse().unwrap()),
            ..Rates::default()
        };
        let shape = rates.shape(&env).unwrap();
        assert!(Rates::default().shape(&env).is_none());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let begun = env.now();
        let sending = (0..2).map(|_| async {
            let tcp = TcpStream::connect(address).await.unwrap();
            let (mut there, _) = listener.accept().await.unwrap();
            let mut here = shape.shape(tcp);
            let receive = async {
                let mut all = Vec::new();
                there.read_to_end(&mut all).await.unwrap();
                all.len()
            };
            let send = async {
                for _ in 0..20 {
                    here.write_all(&[7; 10_000]).await.unwrap();
                }
                here.shutdown().await.unwrap();
            };
            tokio::join!(send, receive).1
        });
        let received = futures_util::future::join_all(sending).await;
        assert_eq!(received, [200_000, 200_000]);
        // The first second's worth is there at once; the last piece may be owed.
        let taken = env.now() - begun;
        assert!(taken >= Duration::from_millis(900), "{taken:?}");
    }
}
