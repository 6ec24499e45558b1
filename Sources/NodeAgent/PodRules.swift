package import KubeModel
internal import PodTranslation

/// Milliseconds of a clock that only goes forward.
package typealias Milliseconds = Int64

/// When a container is started again after it ended.
package enum RestartPolicy: String, Hashable, Sendable {
  case always = "Always"
  case onFailure = "OnFailure"
  case never = "Never"

  func restarts(after exitCode: Int32) -> Bool {
    switch self {
    case .always: true
    case .onFailure: exitCode != 0
    case .never: false
    }
  }
}

/// Growing pauses between tries, in milliseconds. Kubernetes' own: 10 s, doubling to 300 s, forgotten after a run of
/// 10 minutes.
package struct BackoffRule: Hashable, Sendable {
  package var first: Milliseconds = 10_000
  package var most: Milliseconds = 300_000
  package var forgottenAfter: Milliseconds = 600_000
  /// Between tries to take a pod away.
  package var teardown: Milliseconds = 1_000

  package init() {}

  /// Every pause times `factor`: tests need no minutes.
  package init(scaledBy factor: Double) {
    func scaled(_ value: Milliseconds) -> Milliseconds { max(1, Milliseconds(Double(value) * factor)) }
    (first, most, forgottenAfter, teardown) = (scaled(first), scaled(most), scaled(forgottenAfter), scaled(teardown))
  }

  /// The pause before try number `failures` (1 is the first after a failure).
  func pause(failures: Int) -> Milliseconds {
    guard failures > 0 else { return 0 }
    let doublings = min(failures - 1, 30)
    return min(first << doublings, most)
  }
}

package enum ProbeKind: String, Hashable, Sendable, CaseIterable {
  case startup, liveness, readiness
}

/// How often a probe runs and how many results count. Milliseconds.
package struct ProbeRule: Hashable, Sendable {
  package var initialDelay: Milliseconds = 0
  package var period: Milliseconds = 10_000
  package var successThreshold = 1
  package var failureThreshold = 3
  /// Between the stop signal and the kill where this probe ends the container; nil: the pod's.
  package var graceSeconds: Int64?

  package init() {}

  package init(_ probe: Probe) {
    initialDelay = Milliseconds(probe.initialDelaySeconds ?? 0) * 1000
    period = Milliseconds(max(1, probe.periodSeconds ?? 10)) * 1000
    successThreshold = Int(max(1, probe.successThreshold ?? 1))
    failureThreshold = Int(max(1, probe.failureThreshold ?? 3))
    graceSeconds = probe.terminationGracePeriodSeconds
  }
}

/// Exit codes after which a container is started again whatever its policy says.
package struct RestartCodes: Hashable, Sendable {
  package var values: Set<Int32>
  /// True: these codes; false: all others.
  package var isIn: Bool

  package init(values: Set<Int32>, isIn: Bool = true) { (self.values, self.isIn) = (values, isIn) }

  func contains(_ code: Int32) -> Bool { values.contains(code) == isIn }
}

/// What the pod's machine must know of one container.
package struct ContainerRule: Hashable, Sendable {
  /// Sidecars are init containers that keep running: started in order, stopped last.
  /// Ephemeral ones come to a pod that runs, for a person who looks into it, and count for nothing.
  package enum Role: Hashable, Sendable { case initial, sidecar, main, ephemeral }
  package var name: String
  package var role: Role
  package var restart: RestartPolicy
  package var probes: [ProbeKind: ProbeRule]
  /// As the pod names it.
  package var image: String
  package var restartCodes: [RestartCodes] = []

  func restarts(after code: Int32) -> Bool {
    restart.restarts(after: code) || restartCodes.contains { $0.contains(code) }
  }

  package init(
    name: String, role: Role, restart: RestartPolicy, probes: [ProbeKind: ProbeRule] = [:], image: String = ""
  ) {
    (self.name, self.role, self.restart, self.probes, self.image) = (name, role, restart, probes, image)
  }
}

/// What the pod's machine must know of the pod.
package struct PodRules: Hashable, Sendable {
  package var graceSeconds: Int64 = 30
  package var activeDeadline: Milliseconds?
  /// Init containers and sidecars in their order, then the others.
  package var containers: [ContainerRule] = []
  package var backoff = BackoffRule()
  /// As messages call the pod: `web_default(UID)`; empty: they do not.
  package var title = ""

  package init() {}

  /// - Parameter pod: with its defaults.
  package init(_ pod: Pod, backoff: BackoffRule) {
    self.backoff = backoff
    title = "\(pod.metadata.name ?? "")_\(pod.metadata.namespace ?? "default")(\(pod.metadata.uid ?? ""))"
    graceSeconds = pod.spec.terminationGracePeriodSeconds ?? 30
    activeDeadline = pod.spec.activeDeadlineSeconds.map { $0 * 1000 }
    let policy = RestartPolicy(rawValue: pod.spec.restartPolicy ?? "Always") ?? .always
    for container in pod.spec.initContainers {
      let sidecar = container.restartPolicy == "Always"
      // An init container that fails is tried again unless the pod never restarts anything.
      let own = container.restartPolicy.flatMap(RestartPolicy.init) ?? (policy == .never ? .never : .onFailure)
      containers.append(
        ContainerRule(
          name: container.name, role: sidecar ? .sidecar : .initial, restart: own, probes: Self.probes(container),
          image: container.image ?? ""))
    }
    for container in pod.spec.containers {
      let own = container.restartPolicy.flatMap(RestartPolicy.init) ?? policy
      containers.append(
        ContainerRule(
          name: container.name, role: .main, restart: own, probes: Self.probes(container), image: container.image ?? "")
      )
    }
    for (index, container) in (pod.spec.initContainers + pod.spec.containers).enumerated() {
      containers[index].restartCodes = container.restartPolicyRules.compactMap { rule in
        rule.action != "Restart"
          ? nil : rule.exitCodes.map { RestartCodes(values: Set($0.values), isIn: $0.`operator` != "NotIn") }
      }
    }
    containers += pod.ephemeralContainers.map(Self.ephemeral)
  }

  static func ephemeral(_ container: Container) -> ContainerRule {
    ContainerRule(name: container.name, role: .ephemeral, restart: .never, image: container.image ?? "")
  }

  private static func probes(_ container: Container) -> [ProbeKind: ProbeRule] {
    var out: [ProbeKind: ProbeRule] = [:]
    if let probe = container.startupProbe { out[.startup] = ProbeRule(probe) }
    if let probe = container.livenessProbe { out[.liveness] = ProbeRule(probe) }
    if let probe = container.readinessProbe { out[.readiness] = ProbeRule(probe) }
    return out
  }
}
