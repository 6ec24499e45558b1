internal import HTTPServer
internal import Kernel
internal import KubeModel
internal import PodTranslation

/// Why the node does not answer, with the status of HTTP that says so.
struct NodeRefusal: Error, Hashable {
  var status: Int
  var message: String

  var response: HTTPResponse { .text("\(message)\n", status: status) }
}

/// Where one run of a container has its log.
struct LogPlace: Hashable, Sendable {
  var uid: String
  var container: String
  var attempt: UInt32
  var path: String
}

/// What the node's server asks the agent.
extension NodeAgent {
  /// Every pod with its status.
  func podsNow() -> [Pod] {
    reports.values.sorted { $0.pod.metadata.name ?? "" < $1.pod.metadata.name ?? "" }.map { report in
      var pod = report.pod
      pod.status = report.status(hostIPs: tools.facts.hostIPs)
      return pod
    }
  }

  private func found(_ namespace: String, _ name: String) throws(NodeRefusal) -> PodReport {
    let named = (holders["\(namespace)/\(name)"] ?? []).compactMap { reports[$0] }
    // Of two of one name the older one is on its way out.
    guard let report = named.first(where: { !$0.machine.isDeleting }) ?? named.first else {
      throw NodeRefusal(status: 404, message: "pod \"\(name)\" not found")
    }
    return report
  }

  private func found(
    _ namespace: String, _ name: String, _ container: String
  ) throws(NodeRefusal) -> (pod: PodReport, container: ContainerState) {
    let report = try found(namespace, name)
    guard let state = report.machine.containers.first(where: { $0.rule.name == container }) else {
      throw NodeRefusal(status: 400, message: "container \(container) is not valid for pod \(name)")
    }
    return (report, state)
  }

  func logPlace(
    _ namespace: String, _ name: String, _ container: String, previous: Bool
  ) throws(NodeRefusal) -> LogPlace {
    let (report, state) = try found(namespace, name, container)
    let attempt: UInt32
    if previous {
      // Between two runs the last one is the previous one.
      guard let exit = state.lastExit, state.current != nil || !state.isFinished else {
        throw NodeRefusal(
          status: 400, message: "previous terminated container \"\(container)\" in pod \"\(name)\" not found")
      }
      attempt = exit.attempt
    } else if let known = state.current?.attempt ?? state.lastExit?.attempt {
      attempt = known
    } else {
      let waiting = state.waiting ?? report.machine.waiting
      switch waiting?.reason {
      case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName":
        throw NodeRefusal(
          status: 400,
          message: "container \"\(container)\" in pod \"\(name)\" is waiting to start: \(waiting?.message ?? "")")
      default:
        throw NodeRefusal(
          status: 400,
          message:
            "container \"\(container)\" in pod \"\(name)\" is waiting to start: \(waiting?.reason ?? "ContainerCreating")"
        )
      }
    }
    let directory = PodTranslation(pod: report.pod, facts: tools.facts).logDirectory
    return LogPlace(
      uid: report.pod.metadata.uid ?? "", container: container, attempt: attempt,
      path: "\(directory)/\(container)/\(attempt).log")
  }

  /// Whether that run of the container writes no more.
  func hasEnded(_ place: LogPlace) -> Bool {
    let state = reports[place.uid]?.machine.containers.first { $0.rule.name == place.container }
    return state?.current?.attempt != place.attempt
  }

  func runningContainer(_ namespace: String, _ name: String, _ container: String) throws(NodeRefusal) -> String {
    guard let current = try found(namespace, name, container).container.current else {
      throw NodeRefusal(status: 404, message: "container not found (\"\(container)\")")
    }
    return current.id
  }

  func runningSandbox(_ namespace: String, _ name: String) throws(NodeRefusal) -> String {
    guard let id = try found(namespace, name).machine.sandboxID else {
      throw NodeRefusal(status: 404, message: "pod \"\(name)\" has no sandbox yet")
    }
    return id
  }
}
