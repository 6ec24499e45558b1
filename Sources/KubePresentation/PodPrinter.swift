import JSON

/// Pods: the phase alone says too little, so STATUS tells the most telling reason of pod and containers.
enum PodPrinter {
  static let printer = Printer(
    columns: [
      .name, Column("Ready", "Containers that are ready, of all that stay."),
      Column("Status", "What the pod is doing, or why it is not."),
      Column("Restarts", "How often its containers were restarted, and when last."), .age,
      Column("IP", wide: true, "The address of the pod."), Column("Node", wide: true, "Where the pod runs."),
      Column("Nominated Node", wide: true, "Where room is being made for the pod."),
      Column("Readiness Gates", wide: true, "Conditions of others that are met, of those the pod waits for."),
    ],
    cells: { pod, now in
      let summary = Summary(pod)
      return [
        pod.name, .string("\(summary.ready)/\(summary.containers)"), .string(summary.reason),
        .string(summary.restarts(now)), pod.age(now), .string(address(pod)),
        .string((pod["spec"]?.text("nodeName") ?? "").orElse("<none>")),
        .string((pod["status"]?.text("nominatedNodeName") ?? "").orElse("<none>")), .string(gates(pod)),
      ]
    },
    conditions: { pod in
      switch pod["status"]?.text("phase") {
      case "Succeeded": [condition("Succeeded", "The pod has completed successfully.")]
      case "Failed": [condition("Failed", "The pod failed.")]
      default: []
      }
    })

  private static func condition(_ reason: String, _ message: String) -> JSONValue {
    ["type": "Completed", "status": "True", "reason": .string(reason), "message": .string(message)]
  }

  private static func address(_ pod: JSONValue) -> String {
    let status = pod["status"] ?? [:]
    return (status.list("podIPs").first?.text("ip") ?? status.text("podIP")).orElse("<none>")
  }

  private static func gates(_ pod: JSONValue) -> String {
    let gates = pod["spec"]?.list("readinessGates") ?? []
    if gates.isEmpty { return "<none>" }
    let met = gates.filter { gate in isTrue(gate.text("conditionType"), pod) }
    return "\(met.count)/\(gates.count)"
  }

  fileprivate static func isTrue(_ condition: String, _ pod: JSONValue) -> Bool {
    pod["status"]?.list("conditions").contains { $0.text("type") == condition && $0.text("status") == "True" } ?? false
  }

  /// What the containers of a pod come to.
  private struct Summary {
    private(set) var ready = 0
    private(set) var containers: Int
    private(set) var reason: String
    private var restartCount: Int64 = 0
    private var lastRestart: String?
    /// Of init containers that stay, whose restarts still count when initialization is over.
    private var stayingRestartCount: Int64 = 0
    private var stayingLastRestart: String?

    init(_ pod: JSONValue) {
      let (spec, status) = (pod["spec"] ?? [:], pod["status"] ?? [:])
      let staying = spec.list("initContainers").filter { $0.text("restartPolicy") == "Always" }
      containers = spec.list("containers").count + staying.count
      reason = status.text("reason").orElse(status.text("phase"))
      let gated = status.list("conditions").contains {
        $0.text("type") == "PodScheduled" && $0.text("reason") == "SchedulingGated"
      }
      if gated { reason = "SchedulingGated" }
      let isInitializing = readInit(
        status.list("initContainerStatuses"), of: spec.list("initContainers").count,
        staying: Set(staying.map { $0.text("name") }))
      if !isInitializing || PodPrinter.isTrue("Initialized", pod) {
        (restartCount, lastRestart) = (stayingRestartCount, stayingLastRestart)
        readContainers(status.list("containerStatuses"), pod)
      }
      guard pod.metadata?["deletionTimestamp"]?.string != nil else { return }
      if status.text("reason") == "NodeLost" {
        reason = "Unknown"
      } else if !["Succeeded", "Failed"].contains(status.text("phase")) {
        reason = "Terminating"
      }
    }

    /// `3 (2m ago)`
    func restarts(_ now: Int64) -> String {
      guard restartCount > 0, let lastRestart else { return String(restartCount) }
      return "\(restartCount) (\(HumanDuration.since(.string(lastRestart), now: now)) ago)"
    }

    /// True while one of them is not done.
    private mutating func readInit(_ statuses: [JSONValue], of count: Int, staying: Set<String>) -> Bool {
      for (index, container) in statuses.enumerated() {
        let stays = staying.contains(container.text("name"))
        add(container, stays: stays)
        let state = container["state"] ?? [:]
        if let end = state["terminated"], end.object != nil {
          if end.integer("exitCode") == 0 { continue }
          reason = "Init:\(Self.ending(end))"
          return true
        }
        if stays, container["started"]?.bool == true {
          if container["ready"]?.bool == true { ready += 1 }
          continue
        }
        let waiting = state["waiting"]?.text("reason") ?? ""
        reason = waiting.isEmpty || waiting == "PodInitializing" ? "Init:\(index)/\(count)" : "Init:\(waiting)"
        return true
      }
      return false
    }

    private mutating func readContainers(_ statuses: [JSONValue], _ pod: JSONValue) {
      var isRunning = false
      // From the last: the reason of the first container wins.
      for container in statuses.reversed() {
        add(container, stays: false)
        let state = container["state"] ?? [:]
        if let waiting = state["waiting"]?.text("reason"), !waiting.isEmpty {
          reason = waiting
        } else if let end = state["terminated"], end.object != nil {
          reason = Self.ending(end)
        } else if container["ready"]?.bool == true, state["running"]?.object != nil {
          isRunning = true
          ready += 1
        }
      }
      if reason == "Completed", isRunning { reason = PodPrinter.isTrue("Ready", pod) ? "Running" : "NotReady" }
    }

    private mutating func add(_ container: JSONValue, stays: Bool) {
      let count = container.integer("restartCount")
      let end = container["lastState"]?["terminated"]?["finishedAt"]?.string
      restartCount &+= count
      lastRestart = Self.later(lastRestart, end)
      if stays {
        stayingRestartCount &+= count
        stayingLastRestart = Self.later(stayingLastRestart, end)
      }
    }

    /// Times of one zone and precision compare as text.
    private static func later(_ first: String?, _ second: String?) -> String? {
      guard let first, let second else { return first ?? second }
      return max(first, second)
    }

    private static func ending(_ end: JSONValue) -> String {
      let reason = end.text("reason")
      if !reason.isEmpty { return reason }
      return end.integer("signal") != 0 ? "Signal:\(end.integer("signal"))" : "ExitCode:\(end.integer("exitCode"))"
    }
  }
}
