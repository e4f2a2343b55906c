//! What is declared, and what it does: sessions whose command lines and output tell who they are.

use std::fmt::Write as _;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes numbered lines for ever.
    Writer,
    /// The same in bursts, so that its log is rotated.
    Flood,
    /// The same; takes 200 ms to stop, and says when it has.
    Slow,
    /// The same; ignores what asks it to stop.
    Deaf,
    /// Writes some lines and ends by itself, with this status, never to run again.
    Once(u8),
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Writer, Self::Flood, Self::Slow, Self::Deaf, Self::Once(0), Self::Once(7), Self::Once(3)];

    /// Those that run for ever.
    pub const LASTING: [Self; 4] = [Self::Writer, Self::Flood, Self::Slow, Self::Deaf];
    /// Those that end by themselves.
    pub const ENDING: [Self; 3] = [Self::Once(0), Self::Once(7), Self::Once(3)];

    fn script(self, pace: &str) -> String {
        // An empty line first: should a keeper have been killed in the middle of a line, ours begins anew. A shell
        // says on stderr what its children were killed by.
        let head = "exec 2>/dev/null; echo; echo \"run $ATM_RUN_ID $0\"; i=0; line() { i=$((i+1)); echo \"$0 $i\"; }; ";
        let body = match self {
            Self::Writer => "while :; do line; sleep PACE; done",
            Self::Flood => {
                "while :; do j=0; while [ $j -lt 40 ]; do line; j=$((j+1)); done; sleep PACE; done"
            }
            // What the trap runs is not to be ended by the very signal.
            Self::Slow => {
                "trap '' HUP; trap 'trap \"\" TERM; sleep 0.2; echo \"bye $0\"; exit 0' TERM; \
                 while :; do line; sleep PACE; done"
            }
            Self::Deaf => "trap '' TERM HUP; while :; do line; sleep PACE; done",
            Self::Once(_) => "while [ $i -lt 20 ]; do line; done; sleep 0.$1; echo \"end $0\"; exit $2",
        };
        format!("{head}{}", body.replace("PACE", pace))
    }

    pub fn is_once(self) -> bool {
        matches!(self, Self::Once(_))
    }
}

/// What a person told the daemon of a session, beside its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing, or that it is to run.
    Nothing,
    /// That it is to stop; and it was agreed to.
    Stop,
    /// Nobody knows: what was said last was not answered, or what was remembered of it was taken away. It is told to
    /// run until it answers.
    Unheard,
}

/// One declared session.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is true or not, whatever the others are")]
pub struct Declared {
    pub kind: Kind,
    /// Seconds between what it writes.
    pub pace: &'static str,
    /// In its command line and in each of its lines; another command has another one.
    pub token: String,
    pub priority: u64,
    /// How it is written, which means nothing.
    pub style: u64,
    pub terminal: bool,
    /// Tenths of a second that one of [`Kind::Once`] takes.
    pub tenths: u64,
    /// The process that ran it when all was quiet last.
    pub process: Option<(i32, u64)>,
    /// Its process or its keeper was killed by us, or its file was away for a moment: another process is no loss.
    pub shaken: bool,
    /// Its keeper or itself was killed, with this token: then its result is another one, or one that nobody knows.
    pub bereft: bool,
    /// How often what is remembered of it was taken away: as often it may run once more, though it runs but once.
    pub forgotten: usize,
    /// Of one that ends: it has, as it was to.
    pub over: bool,
    /// Its file ends with `.yml`.
    pub yml: bool,
    /// What is in its file at present is no spec: the last good one is in force.
    pub spoiled: bool,
    pub order: Order,
}

impl Declared {
    /// Its file.
    pub fn yaml(&self) -> String {
        let mut lines = Vec::new();
        let code = if let Kind::Once(code) = self.kind { code } else { 0 };
        let script = self.kind.script(self.pace).replace('\'', "''");
        let Self { token, tenths, priority, terminal, style, .. } = self;
        lines.push(format!("command: [sh, -c, '{script}', {token}, '{tenths}', '{code}']"));
        lines.push("onChange: Restart".to_owned());
        lines.push("workingDir: /".to_owned()); // root's home is closed to one who is root in a namespace only
        lines.push("backoff: {initial: 0s, max: 1ms}".to_owned());
        lines.push(format!("terminal: {terminal}"));
        lines.push(format!("priority: {priority}"));
        let policy = match self.kind {
            Kind::Once(_) => "Never",
            Kind::Writer | Kind::Flood => "OnFailure",
            Kind::Slow | Kind::Deaf => "Always",
        };
        lines.push(format!("restartPolicy: {policy}"));
        lines.push("terminationGracePeriod: 1s".to_owned()); // of a deaf one, whatever follows it
        let turn = usize::try_from(*style).unwrap() % lines.len();
        lines.rotate_left(turn);
        let mut text = format!("# {style}\n");
        for line in lines {
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}
