//! Budgets where each session has a cgroup.

use super::machine::Machine;

#[test]
fn sessions_in_groups_are_looked_at_and_held_to_their_budgets() {
    let Some(machine) = Machine::installed() else { return };
    let busy =
        "command: [sh, -c, 'sleep 1000 & while :; do :; done']\nmaxIdle: 2s\nterminationGracePeriod: 1s\n";
    machine.spec("busy", busy);
    machine.spec("idle", "command: [sleep, '1000']\nmaxIdle: 2s\n");
    let pid = machine.wait_running("busy");
    machine.wait("it is idle for too long", || machine.get("idle")["status"]["reason"] == "IdleTimeout");
    machine.wait("it is measured", || {
        let status = &machine.get("busy")["status"];
        status["cpuPercent"].as_f64() > Some(10.0)
            && status["processes"] == 2
            && status["memoryBytes"].as_u64() > Some(100_000)
    });
    assert_eq!(machine.wait_running("busy"), pid, "what works is not idle");
    machine.spec("busy", &format!("{busy}maxProcesses: 1\nrestartPolicy: Never\n"));
    machine.wait("it has too many", || machine.get("busy")["status"]["reason"] == "ProcessLimit");
}
