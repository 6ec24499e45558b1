package import KubeModel

/// What happened to a pod, in the words in which Kubernetes tells people.
package struct PodNote: Hashable, Sendable {
  package var isWarning: Bool
  package var reason: String
  package var message: String
  /// The container that it is about; nil: the pod.
  package var container: String?

  package init(_ reason: String, _ message: String, container: String? = nil, isWarning: Bool = false) {
    (self.reason, self.message, self.container, self.isWarning) = (reason, message, container, isWarning)
  }

  package static func warning(_ reason: String, _ message: String, container: String? = nil) -> PodNote {
    PodNote(reason, message, container: container, isWarning: true)
  }

  /// As `spec.containers{web}`: the part of the pod that an event points to.
  package func fieldPath(in pod: Pod) -> String? {
    guard let container else { return nil }
    let isInitial = pod.spec.initContainers.contains { $0.name == container }
    return "spec.\(isInitial ? "initContainers" : "containers"){\(container)}"
  }
}

/// Finds what is worth telling in one step of a pod's machine. Pure; pulls are told by who does them, who knows how long
/// they took.
package enum PodNotes {
  package static func notes(
    of event: PodEvent, before: PodMachine.Report, after: PodMachine.Report, actions: [PodAction], title: String
  ) -> [PodNote] {
    var notes = told(event, before)
    for state in after.containers {
      let old = before.containers.first { $0.rule.name == state.rule.name }?.waiting
      guard let waiting = state.waiting, old?.reason != waiting.reason else { continue }
      notes += backoff(waiting, state.rule, title)
    }
    for case .stop(let name, let id, _) in actions { notes += killing(name, id, before, after) }
    for case .clearSandbox in actions {
      notes.append(PodNote("SandboxChanged", "Pod sandbox changed, it will be killed and re-created."))
    }
    if before.failure == nil, let failure = after.failure {
      notes.append(.warning(failure.reason, failure.message))
    }
    return notes
  }

  private static func told(_ event: PodEvent, _ before: PodMachine.Report) -> [PodNote] {
    switch event {
    case .started(let name, let id, _, _):
      guard before.containers.contains(where: { $0.rule.name == name && $0.current?.id != id }) else { return [] }
      return [
        PodNote("Created", "Container created", container: name),
        PodNote("Started", "Container started", container: name),
      ]
    case .startFailed(let name, _, let id, let reason, let message):
      let failed = PodNote.warning("Failed", "Error: \(message.isEmpty ? reason : message)", container: name)
      return id == nil ? [failed] : [PodNote("Created", "Container created", container: name), failed]
    case .imageFailed(let name, let reason, let message):
      let image = before.containers.first { $0.rule.name == name }?.rule.image ?? ""
      switch reason {
      case "ErrImageNeverPull": return [.warning("ErrImageNeverPull", message, container: name)]
      case "InvalidImageName": return [.warning("InspectFailed", message, container: name)]
      default:
        return [
          .warning("Failed", "Failed to pull image \"\(image)\": \(message)", container: name),
          .warning("Failed", "Error: \(reason)", container: name),
        ]
      }
    case .volumesFailed(_, let message): return [.warning("FailedMount", message)]
    case .sandboxFailed(let message):
      return [.warning("FailedCreatePodSandBox", "Failed to create pod sandbox: \(message)")]
    case .probed(let name, let id, let kind, false, let message):
      guard before.containers.contains(where: { $0.rule.name == name && $0.current?.id == id }) else { return [] }
      return [.warning("Unhealthy", "\(kind.title) probe failed: \(message)", container: name)]
    case .teardownFailed(let message), .stopFailed(_, _, let message):
      return [.warning("FailedKillPod", "error killing pod: \(message)")]
    default: return []
    }
  }

  private static func backoff(_ waiting: Waiting, _ rule: ContainerRule, _ title: String) -> [PodNote] {
    switch waiting.reason {
    case "CrashLoopBackOff":
      let pod = title.isEmpty ? "" : " in pod \(title)"
      return [.warning("BackOff", "Back-off restarting failed container \(rule.name)\(pod)", container: rule.name)]
    case "ImagePullBackOff":
      return [
        PodNote("BackOff", "Back-off pulling image \"\(rule.image)\"", container: rule.name),
        .warning("Failed", "Error: ImagePullBackOff", container: rule.name),
      ]
    default: return []
    }
  }

  private static func killing(
    _ name: String, _ id: String, _ before: PodMachine.Report, _ after: PodMachine.Report
  ) -> [PodNote] {
    // A stop that is only hurried was told before.
    if let old = before.containers.first(where: { $0.rule.name == name }), case .stopping = old.phase { return [] }
    let state = after.containers.first { $0.rule.name == name }
    var message = "Stopping container \(name)"
    if !after.isDeleting, after.failure == nil {
      if let kind = state?.failedProbe {
        message = "Container \(name) failed \(kind.rawValue) probe, will be restarted"
      } else if state?.isOutdated == true {
        message = "Container \(name) definition changed, will be restarted"
      }
    }
    return [PodNote("Killing", message, container: name)]
  }
}

extension ProbeKind {
  var title: String {
    switch self {
    case .startup: "Startup"
    case .liveness: "Liveness"
    case .readiness: "Readiness"
    }
  }
}
