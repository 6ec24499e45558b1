package import KubeModel
package import PodTranslation

/// How far a change of a pod's CPU and memory has come.
package struct ResizeState: Hashable, Sendable {
  package struct Pending: Hashable, Sendable {
    /// `Deferred`: there is no room now. `Infeasible`: there will be none.
    package var reason: String
    package var message: String

    package init(_ reason: String, _ message: String) { (self.reason, self.message) = (reason, message) }
  }
  package var pending: Pending?
  package var inProgress = false
  /// Why it does not get on; it is tried again.
  package var problem: String?
  /// What runs now, by container, where it is another than what the node has let in.
  package var actual: [String: ResourceRequirements] = [:]

  package init() {}
}

/// CPU and memory of pods that run: what a node lets in, and what is to be done for it. Pure.
package enum ResizePlan {
  package static let resizable = ["cpu", "memory"]

  package enum Verdict: Hashable, Sendable {
    case fits
    case waits(ResizeState.Pending)
  }

  /// Containers that run as long as their pod.
  static func running(_ spec: PodSpec) -> [Container] {
    spec.containers + spec.initContainers.filter { $0.restartPolicy == "Always" }
  }

  /// What the pods of a node are counted with.
  static func requests(_ spec: PodSpec) -> (cpuMilli: Int64, memoryBytes: Int64) {
    func total(_ name: String, _ amount: (Quantity) -> Int64) -> Int64 {
      func of(_ container: Container) -> Int64 {
        (container.resources.requests[name] ?? container.resources.limits[name]).map(amount) ?? 0
      }
      let sum = running(spec).reduce(Int64(0)) { $0.addingReportingOverflow(of($1)).partialValue }
      return max(sum, spec.initContainers.filter { $0.restartPolicy != "Always" }.map(of).max() ?? 0)
    }
    return (total("cpu", \.milliValue), total("memory", \.value))
  }

  /// Whether what a pod wants has room on its node.
  ///
  /// - Parameters:
  ///   - allocated: what the node has let in for it so far.
  ///   - others: specs of the node's other pods, as it has let them in.
  package static func verdict(
    wanted: PodSpec, allocated: PodSpec, others: [PodSpec], facts: NodeFacts
  ) -> Verdict {
    let (new, old) = (requests(wanted), requests(allocated))
    let used = others.map(requests).reduce((cpu: Int64(0), memory: Int64(0))) {
      ($0.cpu + $1.cpuMilli, $0.memory + $1.memoryBytes)
    }
    let amounts = [
      ("cpu", new.cpuMilli, old.cpuMilli, facts.cpuCapacityMilli, used.cpu),
      ("memory", new.memoryBytes, old.memoryBytes, facts.memoryCapacityBytes, used.memory),
    ]
    // Less is always to be had; a node that does not know its size takes what comes.
    for (name, wish, had, capacity, _) in amounts where wish > had && capacity > 0 && wish > capacity {
      return .waits(
        .init("Infeasible", "Node didn't have enough capacity: \(name), requested: \(wish), capacity: \(capacity)"))
    }
    for (name, wish, had, capacity, taken) in amounts where wish > had && capacity > 0 && wish + taken > capacity {
      return .waits(
        .init(
          "Deferred",
          "Node didn't have enough resource: \(name), requested: \(wish), used: \(taken), capacity: \(capacity)"))
    }
    return .fits
  }

  package enum Step: Hashable, Sendable {
    case update(container: String)
    /// It takes only with another run.
    case restart(container: String)
  }

  /// What brings containers from one size to another.
  package static func steps(from old: PodSpec, to new: PodSpec) -> [Step] {
    let known = Dictionary(running(old).map { ($0.name, $0.resources) }) { first, _ in first }
    return running(new).compactMap { container in
      guard let before = known[container.name] else { return nil }
      let changed = resizable.filter {
        before.limits[$0] != container.resources.limits[$0] || before.requests[$0] != container.resources.requests[$0]
      }
      guard !changed.isEmpty else { return nil }
      let restarts = container.resizePolicy.contains {
        changed.contains($0.resourceName) && $0.restartPolicy == "RestartContainer"
      }
      return restarts ? .restart(container: container.name) : .update(container: container.name)
    }
  }

  /// `spec` with the sizes of another.
  package static func spec(_ spec: PodSpec, sizedAs other: PodSpec) -> PodSpec {
    var spec = spec
    func take(_ containers: inout [Container], _ others: [Container]) {
      for index in containers.indices {
        guard let known = others.first(where: { $0.name == containers[index].name }) else { continue }
        containers[index].resources = known.resources
      }
    }
    take(&spec.containers, other.containers)
    take(&spec.initContainers, other.initContainers)
    return spec
  }

  /// `spec` as an earlier agent had let it in, which the pod's status tells.
  package static func spec(_ spec: PodSpec, sizedAs status: PodStatus) -> PodSpec {
    var spec = spec
    func take(_ containers: inout [Container], _ statuses: [ContainerStatus]) {
      for index in containers.indices {
        guard let known = statuses.first(where: { $0.name == containers[index].name })?.resources else { continue }
        for name in resizable {
          containers[index].resources.limits[name] = known.limits[name]
          containers[index].resources.requests[name] = known.requests[name]
        }
      }
    }
    take(&spec.containers, status.containerStatuses)
    take(&spec.initContainers, status.initContainerStatuses)
    return spec
  }
}
