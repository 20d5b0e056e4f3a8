//! When a datastore will be full, if it goes on like this.

/// Fewer points say nothing.
const MIN_POINTS: usize = 7;

/// The time at which the straight line through these points (time, share in use) comes to 1; 0 if
/// it never does, none if there are too few points.
#[must_use]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub fn full_date(points: &[(i64, f64)]) -> Option<i64> {
    let (first, _) = *points.first()?;
    if points.len() < MIN_POINTS {
        return None;
    }
    let count = points.len() as f64;
    let x = |time: i64| (time - first) as f64;
    let mean_x = points.iter().map(|(time, _)| x(*time)).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, share)| share).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (time, share) in points {
        above += (x(*time) - mean_x) * (share - mean_y);
        below += (x(*time) - mean_x).powi(2);
    }
    let slope = above / below;
    if !slope.is_finite() || slope <= 0.0 {
        return Some(0);
    }
    let seconds = mean_x + (1.0 - mean_y) / slope;
    let date = first as f64 + seconds;
    // Farther than any calendar goes is never.
    Some(if date.is_finite() && date < 1e11 {
        date as i64
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_followed_to_its_end() {
        let line = |slope: f64, count: i64| -> Vec<(i64, f64)> {
            (0..count)
                .map(|n| {
                    (
                        1_000_000 + n * 1800,
                        0.5 + slope * f64::from(u16::try_from(n).unwrap()),
                    )
                })
                .collect()
        };
        assert_eq!(full_date(&line(0.01, 6)), None);
        assert_eq!(full_date(&[]), None);
        // 50 steps from the first point.
        let date = full_date(&line(0.01, 10)).unwrap();
        assert!((date - (1_000_000 + 50 * 1800)).abs() <= 1, "{date}");
        assert_eq!(full_date(&line(0.0, 10)), Some(0));
        assert_eq!(full_date(&line(-0.01, 10)), Some(0));
        assert_eq!(full_date(&line(1e-12, 10)), Some(0));
        assert_eq!(full_date(&[(5, 0.5); 10]), Some(0), "all at one time");
    }
}
