//! Last and next run of a job, as listings say it (`rest-api.md` §4).

use api_types::status::TaskStatus;
use api_types::upid::Upid;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::calendar::CalendarEvent;
use super::state::JobState;

/// Last and next run of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobScheduleStatus {
    /// When it runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<i64>,
    /// How the last run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_state: Option<TaskStatus>,
    /// The task of the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_upid: Option<Upid>,
    /// When the last run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_endtime: Option<i64>,
}

impl JobScheduleStatus {
    /// What a job's state and its schedule, if it has one, say.
    #[must_use]
    pub fn of(state: &JobState, schedule: Option<&str>) -> Self {
        let event = schedule.and_then(|text| text.parse::<CalendarEvent>().ok());
        let next_run =
            event.and_then(|event| event.next_after(state.last_end(), &TimeZone::system()));
        match state {
            JobState::Created { .. } => Self {
                next_run,
                ..Self::default()
            },
            JobState::Running { upid } => Self {
                next_run,
                last_run_upid: Some(upid.clone()),
                ..Self::default()
            },
            JobState::Finished { upid, end, .. } => Self {
                next_run,
                last_run_state: Some(end.status.clone()),
                last_run_upid: Some(upid.clone()),
                last_run_endtime: Some(end.endtime),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskEnd;

    #[test]
    fn the_next_run_counts_from_the_end_of_the_last() {
        let upid: Upid = "UPID:vm:00000001:00000002:00000003:00000000:prunejob:s1:root@pam:"
            .parse()
            .unwrap();
        let finished = |updated| JobState::Finished {
            upid: upid.clone(),
            end: TaskEnd {
                endtime: 3661,
                status: TaskStatus::Ok,
            },
            updated,
        };
        let status = JobScheduleStatus::of(&finished(None), Some("hourly UTC"));
        assert_eq!(status.next_run, Some(7200));
        assert_eq!(status.last_run_endtime, Some(3661));
        let changed = JobScheduleStatus::of(&finished(Some(7300)), Some("hourly UTC"));
        assert_eq!(changed.next_run, Some(10_800));
        let running = JobScheduleStatus::of(&JobState::Running { upid: upid.clone() }, None);
        assert_eq!(
            serde_json::to_value(running).unwrap(),
            serde_json::json!({ "last-run-upid": upid.to_string() })
        );
    }
}
