/// A sandbox as it is at one moment.
package struct SandboxSnapshot: Sendable, Hashable {
  package var record: SandboxRecord
  package var phase: SandboxMachine.Phase
  package var addresses: SandboxAddresses
  package var shimPID: Int32

  package init(record: SandboxRecord, phase: SandboxMachine.Phase, addresses: SandboxAddresses, shimPID: Int32) {
    self.record = record
    self.phase = phase
    self.addresses = addresses
    self.shimPID = shimPID
  }

  package var id: String { record.id }
  package var config: SandboxConfig { record.config }
  package var isReady: Bool { phase == .ready }
  /// Not yet answered to its caller, or gone: not for lists.
  package var isHidden: Bool {
    switch phase {
    case .making, .undoing, .removed: true
    default: false
    }
  }
}

/// A container as it is at one moment.
package struct ContainerSnapshot: Sendable, Hashable {
  package var record: ContainerRecord
  package var phase: ContainerMachine.Phase
  /// Nanoseconds since 1970; 0 where it never ran.
  package var startedAt: Int64
  /// Also of a container that has ended; 0 where it never ran.
  package var pid: Int32

  package var id: String { record.id }
  package var sandboxID: String { record.sandboxID }
  package var config: ContainerConfig { record.config }
  package var exit: ContainerExit? {
    if case .exited(let exit) = phase { exit } else { nil }
  }
}

/// News for whoever follows the runtime.
package struct RuntimeEvent: Sendable, Hashable {
  package enum Kind: Sendable, Hashable { case created, started, stopped, removed }
  package var kind: Kind
  /// A container's or a sandbox's own id, as CRI's events do it.
  package var containerID: String
  package var sandboxID: String
  /// Nanoseconds since 1970.
  package var at: Int64
}

/// Every bound of this room in one place.
package enum RuntimeBounds {
  /// From the kill of a cgroup to giving up on it.
  package static let killWaitMilliseconds = 10_000
  /// Longest grace that a stop may ask for: 30 days; more is taken as this.
  package static let graceMillisecondsMax: Int64 = 30 * 24 * 3600 * 1000
  /// Of one record on disk.
  package static let recordBytesMax = 4 << 20
  /// Events that a slow follower may be behind before it loses the oldest.
  package static let eventsMax = 4096
  /// For a shim to end after it was asked.
  package static let shimWaitMilliseconds = 5_000
  /// Bytes of both output streams together that one ExecSync keeps: the answer must fit the 16 MiB that a kubelet takes.
  package static let execOutputBytesMax = (16 << 20) - 4096
  /// The same of all that run at one time.
  package static let execOutputBytesTotalMax = 32 << 20
  /// Sandboxes recovered at the same time.
  package static let recoveriesMax = 16
}
