//! What a run costs at the provider: requests by price class and bytes by direction (A27).
//!
//! Providers bill writes and listings in one class, reads in another, and mostly nothing for
//! deletes. Nothing is priced unless a table is configured; a dry run may use
//! [`PriceTable::typical`] to give an idea.

use std::fmt;

use serde::{Deserialize, Serialize};

const BYTES_PER_GB: f64 = 1e9;

/// Prices of one provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PriceTable {
    /// Printed behind amounts.
    pub currency: String,
    /// 1000 PUT, COPY, POST or LIST requests.
    pub write_per_1000: f64,
    /// 1000 GET, HEAD or other requests.
    pub read_per_1000: f64,
    /// 1000 DELETE requests, multi-object ones included.
    pub delete_per_1000: f64,
    /// A gigabyte (10⁹ bytes) downloaded.
    pub download_per_gb: f64,
    /// A gigabyte (10⁹ bytes) stored for a month.
    pub storage_per_gb_month: f64,
}

impl PriceTable {
    /// List prices of the largest provider's standard class, to give an idea.
    #[must_use]
    pub fn typical() -> Self {
        Self {
            currency: "USD".to_owned(),
            write_per_1000: 0.005,
            read_per_1000: 0.0004,
            delete_per_1000: 0.0,
            download_per_gb: 0.09,
            storage_per_gb_month: 0.023,
        }
    }

    /// The price of requests and downloads.
    #[must_use]
    pub fn requests(&self, counts: &RequestCounts) -> Price {
        let thousands = |count: u64| to_f64(count) / 1000.0;
        let amount = thousands(counts.write + counts.list) * self.write_per_1000
            + thousands(counts.read) * self.read_per_1000
            + thousands(counts.delete) * self.delete_per_1000
            + to_f64(counts.downloaded_bytes) / BYTES_PER_GB * self.download_per_gb;
        self.price(amount)
    }

    /// What storing that many bytes costs in a month.
    #[must_use]
    pub fn storage_per_month(&self, bytes: u64) -> Price {
        self.price(to_f64(bytes) / BYTES_PER_GB * self.storage_per_gb_month)
    }

    fn price(&self, amount: f64) -> Price {
        Price {
            amount,
            currency: self.currency.clone(),
        }
    }
}

/// Requests by price class, every attempt counted, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestCounts {
    /// PUT, COPY and POST other than multi-object deletes.
    pub write: u64,
    /// LIST.
    pub list: u64,
    /// GET and HEAD.
    pub read: u64,
    /// Single and multi-object deletes.
    pub delete: u64,
    /// Bytes sent.
    pub uploaded_bytes: u64,
    /// Bytes received, listings included.
    pub downloaded_bytes: u64,
}

impl RequestCounts {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.write + self.list + self.read + self.delete
    }
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Price {
    /// How much.
    pub amount: f64,
    /// Of what.
    pub currency: String,
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Requests are cheap: what rounds to nothing still tells its size.
        let decimals = if self.amount != 0.0 && self.amount < 1.0 {
            4
        } else {
            2
        };
        f.pad(&format!("{:.decimals$} {}", self.amount, self.currency))
    }
}

fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_priced_by_class() {
        let table = PriceTable::typical();
        let counts = RequestCounts {
            write: 100,
            list: 1500,
            read: 1000,
            delete: 150,
            uploaded_bytes: 5_000_000_000,
            downloaded_bytes: 600_000_000,
        };
        assert_eq!(counts.total(), 2750);
        let price = table.requests(&counts);
        assert!(
            (price.amount - (0.008 + 0.0004 + 0.054)).abs() < 1e-9,
            "{price}"
        );
        assert_eq!(price.to_string(), "0.0624 USD");
        assert_eq!(
            table.storage_per_month(2_710_000_000_000).to_string(),
            "62.33 USD"
        );
        assert_eq!(
            table.requests(&RequestCounts::default()).to_string(),
            "0.00 USD"
        );
    }

    #[test]
    fn a_configured_table_must_be_whole_and_known() {
        let json = serde_json::to_string(&PriceTable::typical()).unwrap();
        assert_eq!(
            serde_json::from_str::<PriceTable>(&json).unwrap(),
            PriceTable::typical()
        );
        for bad in [
            "{}",
            &json.replace("read-per", "red-per"),
            &json.replace("0.09", "\"x\""),
        ] {
            assert!(serde_json::from_str::<PriceTable>(bad).is_err(), "{bad}");
        }
    }
}
