//! A file with the course of figures: averages and maxima over steps from a minute to a week.
//!
//! The file has a fixed length: a header that names the series, then for each step a ring of rows.
//! A sample changes one row of each ring in place. Each row carries its time and a checksum, so one
//! that a crash has torn is missing and spoils nothing else; a file whose header is not the expected
//! one is begun anew.
//!
//! ```text
//! header   4096 bytes: magic, names of the series, zeros
//! row      time i64, per series: average f64, maximum f64, samples u32; CRC-32; little endian
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result};

const MAGIC: &str = "coffer time series 1\n";
const HEADER_LEN: u64 = 4096;
const FILE_MODE: u32 = 0o640;
const TIME_LEN: usize = 8;
const CELL_LEN: usize = 20;
const CRC_LEN: usize = 4;

/// A ring of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Seconds that a row stands for.
    pub step: i64,
    /// Number of rows.
    pub rows: i64,
}

/// Minutes, half hours, quarters of a day, weeks.
pub const RINGS: [Ring; 4] = [
    Ring {
        step: 60,
        rows: 1440,
    },
    Ring {
        step: 1800,
        rows: 1440,
    },
    Ring {
        step: 21_600,
        rows: 1440,
    },
    Ring {
        step: 604_800,
        rows: 570,
    },
];

/// What of a step is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consolidation {
    /// The mean of its samples.
    Average,
    /// The largest of them.
    Maximum,
}

/// A figure in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    average: f64,
    maximum: f64,
    samples: u32,
}

impl Cell {
    fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.average += (value - self.average) / f64::from(self.samples);
        self.maximum = if self.samples == 1 {
            value
        } else {
            self.maximum.max(value)
        };
    }

    fn value(&self, what: Consolidation) -> Option<f64> {
        let value = match what {
            Consolidation::Average => self.average,
            Consolidation::Maximum => self.maximum,
        };
        (self.samples > 0 && value.is_finite()).then_some(value)
    }
}

/// All figures in a step.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    time: i64,
    cells: Vec<Cell>,
}

impl Row {
    fn len(series: usize) -> usize {
        TIME_LEN + series * CELL_LEN + CRC_LEN
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<CRC_LEN>()?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (time, cells) = content.split_first_chunk::<TIME_LEN>()?;
        let cells = cells.chunks_exact(CELL_LEN).map(|cell| {
            let (average, rest) = cell.split_first_chunk::<8>()?;
            let (maximum, rest) = rest.split_first_chunk::<8>()?;
            Some(Cell {
                average: f64::from_le_bytes(*average),
                maximum: f64::from_le_bytes(*maximum),
                samples: u32::from_le_bytes(rest.try_into().ok()?),
            })
        });
        Some(Self {
            time: i64::from_le_bytes(*time),
            cells: cells.collect::<Option<_>>()?,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::len(self.cells.len()));
        bytes.extend(self.time.to_le_bytes());
        for cell in &self.cells {
            bytes.extend(cell.average.to_le_bytes());
            bytes.extend(cell.maximum.to_le_bytes());
            bytes.extend(cell.samples.to_le_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

/// A step and its figures, in the order of the series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The beginning of the step.
    pub time: i64,
    /// What is known.
    pub values: Vec<Option<f64>>,
}

/// The file.
#[derive(Clone, Debug)]
pub struct SeriesFile {
    path: PathBuf,
    names: &'static [&'static str],
}

impl SeriesFile {
    /// The file at `path`, with these series.
    #[must_use]
    pub fn new(path: PathBuf, names: &'static [&'static str]) -> Self {
        Self { path, names }
    }

    /// The series.
    #[must_use]
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Adds a sample, with a value or none for each series. Blocking.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn update(&self, time: i64, values: &[Option<f64>]) -> Result<()> {
        let write = || -> io::Result<()> {
            let file = self.open_or_create()?;
            for (number, ring) in RINGS.iter().enumerate() {
                let slot = time - time.rem_euclid(ring.step);
                let place = self.place(number, slot);
                let mut row = match self.read_row(&file, place)? {
                    Some(row) if row.time == slot => row,
                    // The clock was set back: what is there was written later.
                    Some(row) if row.time > slot => continue,
                    _ => Row {
                        time: slot,
                        cells: vec![Cell::default(); self.names.len()],
                    },
                };
                for (cell, value) in row.cells.iter_mut().zip(values) {
                    value.iter().for_each(|value| cell.add(*value));
                }
                file.write_all_at(&row.bytes(), place)?;
            }
            Ok(())
        };
        write().with_context(|| format!("failed to write {}", self.path.display()))
    }

    /// The last `count` steps of a ring up to `now`, oldest first; none if nothing is known.
    /// Blocking.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(
        &self,
        ring: usize,
        what: Consolidation,
        now: i64,
        count: i64,
    ) -> Result<Vec<Point>> {
        let Some(Ring { step, rows }) = RINGS.get(ring).copied() else {
            return Ok(Vec::new());
        };
        let content = self
            .read_ring(ring)
            .with_context(|| format!("failed to read {}", self.path.display()))?;
        let Some(content) = content else {
            return Ok(Vec::new());
        };
        let known: Vec<Option<Row>> = content
            .chunks(Row::len(self.names.len()))
            .map(Row::parse)
            .collect();
        let last = now - now.rem_euclid(step);
        let points: Vec<Point> = (0..count.clamp(0, rows))
            .rev()
            .map(|back| {
                let time = last - back * step;
                let row = usize::try_from(slot_of(time, step, rows))
                    .ok()
                    .and_then(|slot| known.get(slot)?.as_ref())
                    .filter(|row| row.time == time);
                let values = match row {
                    Some(row) => row.cells.iter().map(|cell| cell.value(what)).collect(),
                    None => vec![None; self.names.len()],
                };
                Point { time, values }
            })
            .collect();
        let any = points
            .iter()
            .any(|point| point.values.iter().any(Option::is_some));
        Ok(if any { points } else { Vec::new() })
    }

    fn read_ring(&self, ring: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !self.is_sound(&file)? {
            return Ok(None);
        }
        let rows = RINGS.get(ring).map_or(0, |ring| ring.rows);
        let len = usize::try_from(rows).unwrap_or_default() * Row::len(self.names.len());
        let mut content = vec![0; len];
        file.read_exact_at(&mut content, self.ring_start(ring))?;
        Ok(Some(content))
    }

    fn header(&self) -> Vec<u8> {
        let mut header = format!("{MAGIC}{}\n", self.names.join("\n")).into_bytes();
        header.resize(usize::try_from(HEADER_LEN).unwrap_or_default(), 0);
        header
    }

    fn row_len(&self) -> u64 {
        u64::try_from(Row::len(self.names.len())).unwrap_or_default()
    }

    /// Where a ring begins, or ends if it is the one after the last.
    fn ring_start(&self, ring: usize) -> u64 {
        let before: i64 = RINGS.iter().take(ring).map(|ring| ring.rows).sum();
        HEADER_LEN + u64::try_from(before).unwrap_or_default() * self.row_len()
    }

    fn place(&self, ring: usize, time: i64) -> u64 {
        let Some(Ring { step, rows }) = RINGS.get(ring).copied() else {
            return HEADER_LEN;
        };
        let slot = u64::try_from(slot_of(time, step, rows)).unwrap_or_default();
        self.ring_start(ring) + slot * self.row_len()
    }

    fn read_row(&self, file: &File, place: u64) -> io::Result<Option<Row>> {
        let mut bytes = vec![0; Row::len(self.names.len())];
        file.read_exact_at(&mut bytes, place)?;
        Ok(Row::parse(&bytes))
    }

    fn is_sound(&self, file: &File) -> io::Result<bool> {
        if file.metadata()?.len() != self.ring_start(RINGS.len()) {
            return Ok(false);
        }
        let expected = self.header();
        let mut header = vec![0; expected.len()];
        file.read_exact_at(&mut header, 0)?;
        Ok(header == expected)
    }

    fn open_or_create(&self) -> io::Result<File> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        match opened {
            Ok(file) => {
                if self.is_sound(&file)? {
                    return Ok(file);
                }
                tracing::warn!(
                    "{} is damaged or of another version: begun anew",
                    self.path.display()
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let temporary = self.path.with_extension("new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&temporary)?;
        file.write_all_at(&self.header(), 0)?;
        // Holes: only what is written takes room.
        file.set_len(self.ring_start(RINGS.len()))?;
        std::fs::rename(&temporary, &self.path)?;
        Ok(file)
    }
}

/// Number of the row for the step at `time`.
fn slot_of(time: i64, step: i64, rows: i64) -> i64 {
    time.div_euclid(step).rem_euclid(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["one", "two"];
    const NOW: i64 = 1_768_464_960;

    fn file() -> (tempfile::TempDir, SeriesFile) {
        let dir = support::scratch().unwrap();
        let file = SeriesFile::new(dir.path().join("x"), NAMES);
        (dir, file)
    }

    fn last(file: &SeriesFile, ring: usize, what: Consolidation, now: i64) -> Vec<Option<f64>> {
        let points = file.read(ring, what, now, 3).unwrap();
        points
            .last()
            .map(|point| point.values.clone())
            .unwrap_or_default()
    }

    #[test]
    fn samples_of_a_step_become_their_average_and_maximum() {
        let (_dir, file) = file();
        assert!(
            file.read(0, Consolidation::Average, NOW, 60)
                .unwrap()
                .is_empty()
        );
        file.update(NOW, &[Some(1.0), None]).unwrap();
        file.update(NOW + 10, &[Some(3.0), Some(f64::NAN)]).unwrap();
        file.update(NOW + 60, &[None, Some(7.0)]).unwrap();
        let average = Consolidation::Average;
        assert_eq!(last(&file, 0, average, NOW + 20), [Some(2.0), None]);
        assert_eq!(last(&file, 0, average, NOW + 60), [None, Some(7.0)]);
        let maximum = Consolidation::Maximum;
        assert_eq!(last(&file, 0, maximum, NOW), [Some(3.0), None]);
        for ring in 1..4 {
            assert_eq!(last(&file, ring, average, NOW + 60), [Some(2.0), Some(7.0)]);
        }
        let points = file.read(0, average, NOW + 60, 1440).unwrap();
        assert_eq!(points.len(), 1440);
        assert!(points.windows(2).all(|w| w[1].time - w[0].time == 60));
    }

    #[test]
    fn a_ring_forgets_what_is_older() {
        let (_dir, file) = file();
        file.update(NOW, &[Some(1.0), Some(1.0)]).unwrap();
        let later = NOW + 1440 * 60;
        file.update(later, &[Some(2.0), None]).unwrap();
        let points = file.read(0, Consolidation::Average, later, 1440).unwrap();
        let known = points.iter().filter(|point| point.values[0].is_some());
        assert_eq!(known.count(), 1);
        // A clock that was set back changes nothing.
        file.update(NOW, &[Some(9.0), None]).unwrap();
        let average = Consolidation::Average;
        assert_eq!(last(&file, 0, average, later), [Some(2.0), None]);
    }

    #[test]
    fn a_torn_row_is_missing_and_a_damaged_file_is_begun_anew() {
        let (_dir, file) = file();
        file.update(NOW, &[Some(1.0), Some(1.0)]).unwrap();
        file.update(NOW + 60, &[Some(2.0), Some(2.0)]).unwrap();
        let raw = OpenOptions::new().write(true).open(&file.path).unwrap();
        raw.write_all_at(b"torn", file.place(0, NOW + 60) + 9)
            .unwrap();
        let average = Consolidation::Average;
        assert_eq!(last(&file, 0, average, NOW + 60), [None, None]);
        assert_eq!(last(&file, 0, average, NOW), [Some(1.0), Some(1.0)]);
        for damage in ["cut", "header"] {
            let raw = OpenOptions::new().write(true).open(&file.path).unwrap();
            match damage {
                "cut" => raw.set_len(5000).unwrap(),
                _ => raw.write_all_at(b"?", 3).unwrap(),
            }
            assert!(
                file.read(0, average, NOW, 3).unwrap().is_empty(),
                "{damage}"
            );
            file.update(NOW, &[Some(5.0), None]).unwrap();
            assert_eq!(last(&file, 0, average, NOW), [Some(5.0), None]);
        }
    }
}
