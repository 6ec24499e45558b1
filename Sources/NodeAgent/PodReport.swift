package import KubeModel
internal import PodTranslation

/// What one pod looks like from outside.
package struct PodReport: Hashable, Sendable {
  package var pod: Pod
  package var place: ManifestPlace?
  /// It comes from an API server.
  package var isServed = false
  package var machine: PodMachine.Report
  package var resize = ResizeState()

  package init(pod: Pod, place: ManifestPlace? = nil, isServed: Bool = false, machine: PodMachine.Report) {
    (self.pod, self.place, self.isServed, self.machine) = (pod, place, isServed, machine)
  }

  /// The status as Kubernetes has it, but for what only its history can tell: see `PodStatus.continuing`.
  package func status(hostIPs: [String]) -> PodStatus {
    var status = PodStatus()
    status.phase = machine.phase.rawValue
    status.reason = machine.failure?.reason
    status.message = machine.failure?.message
    if !isServed, status.message == nil {
      status.message = machine.waiting.flatMap { $0.message.isEmpty ? nil : $0.message }
    }
    status.observedGeneration = pod.metadata.generation
    status.qosClass = QOSClass(pod.spec).rawValue
    status.hostIP = hostIPs.first
    status.hostIPs = Self.oneOfEachFamily(hostIPs).map { address in
      var item = HostIP()
      item.ip = address
      return item
    }
    status.podIP = machine.addresses.first
    status.podIPs = Self.oneOfEachFamily(machine.addresses).map { address in
      var item = PodIP()
      item.ip = address
      return item
    }
    for container in machine.containers {
      let entry = self.status(of: container)
      switch container.rule.role {
      case .main: status.containerStatuses.append(entry)
      case .ephemeral: status.ephemeralContainerStatuses.append(entry)
      case .initial, .sidecar: status.initContainerStatuses.append(entry)
      }
    }
    status.conditions = conditions
    return status
  }

  /// A node may have many addresses; a status names one of each family.
  private static func oneOfEachFamily(_ addresses: [String]) -> [String] {
    var seen: Set<Bool> = []
    return addresses.filter { seen.insert($0.contains(":")).inserted }
  }

  private var conditions: [PodCondition] {
    func condition(_ type: String, _ isTrue: Bool, _ reason: String?, _ message: String? = nil) -> PodCondition {
      var condition = PodCondition()
      condition.type = type
      condition.status = isTrue ? "True" : "False"
      condition.observedGeneration = pod.metadata.generation
      if !isTrue { (condition.reason, condition.message) = (reason, message) }
      return condition
    }
    let done = machine.phase == .succeeded || machine.phase == .failed
    let unready = machine.containers.filter {
      ![.initial, .ephemeral].contains($0.rule.role) && !($0.isRunning && $0.ready)
    }
    let undone = machine.containers.filter { $0.rule.role != .main && !$0.isDoneInitializing }
    let waits = done ? nil : Self.list("unready status", unready)
    let reason = done ? "PodCompleted" : "ContainersNotReady"
    var initialized = condition(
      "Initialized", machine.initialized || done || undone.isEmpty, "ContainersNotInitialized",
      Self.list("incomplete status", undone))
    if machine.phase == .succeeded { initialized.reason = "PodCompleted" }
    var disruption: [PodCondition] = []
    if let failure = machine.failure, failure.reason == Self.evictedReason {
      var target = condition("DisruptionTarget", true, nil)
      (target.reason, target.message) = ("TerminationByKubelet", failure.message)
      disruption = [target]
    }
    return [
      condition("PodReadyToStartContainers", machine.sandboxID != nil && !machine.addresses.isEmpty, nil), initialized,
      condition("Ready", machine.isReady, reason, waits),
      condition("ContainersReady", machine.containersReady, reason, waits), condition("PodScheduled", true, nil),
    ] + disruption + resizeConditions
  }

  private var resizeConditions: [PodCondition] {
    func condition(_ type: String, _ reason: String?, _ message: String?) -> PodCondition {
      var condition = PodCondition()
      (condition.type, condition.status) = (type, "True")
      (condition.reason, condition.message) = (reason, message)
      condition.observedGeneration = pod.metadata.generation
      return condition
    }
    var found: [PodCondition] = []
    if let pending = resize.pending { found.append(condition("PodResizePending", pending.reason, pending.message)) }
    if resize.inProgress {
      found.append(condition("PodResizeInProgress", resize.problem == nil ? nil : "Error", resize.problem))
    }
    return found
  }

  /// What the node has let in for a container, and what it runs with.
  private func tellSizes(_ out: inout ContainerStatus, _ container: Container?) {
    guard let container, out.state.running != nil else { return }
    let resources = container.resources
    guard !resources.requests.isEmpty || !resources.limits.isEmpty else { return }
    out.allocatedResources = resources.requests
    out.resources = resize.actual[container.name] ?? resources
  }

  static let evictedReason = "Evicted"

  private static func list(_ what: String, _ containers: [ContainerState]) -> String? {
    let names = containers.map(\.rule.name).joined(separator: " ")
    return names.isEmpty ? nil : "containers with \(what): [\(names)]"
  }

  // MARK: containers

  private func status(of state: ContainerState) -> ContainerStatus {
    var out = ContainerStatus()
    out.name = state.rule.name
    let container = (pod.spec.containers + pod.spec.initContainers + pod.ephemeralContainers).first {
      $0.name == state.rule.name
    }
    out.image = container?.image ?? ""
    out.imageID = state.imageID
    out.ready = state.rule.role == .initial ? state.isDoneInitializing : state.isRunning && state.ready
    out.started = state.rule.role == .initial && state.isRunning ? false : state.isRunning && state.started
    out.restartCount = Int32(clamping: state.restartCount)
    var now = KubeModel.ContainerState()
    if let current = state.current {
      out.containerID = "martlet://\(current.id)"
      var running = ContainerStateRunning()
      running.startedAt = Time(secondsSinceEpoch: state.startedAt / 1_000_000_000)
      now.running = running
    } else if let exit = state.lastExit, state.waiting == nil || state.isFinished {
      out.containerID = "martlet://\(exit.id)"
      now.terminated = Self.terminated(exit)
    } else {
      if let exit = state.lastExit { out.containerID = "martlet://\(exit.id)" }
      now.waiting = waiting(state)
    }
    out.state = now
    tellSizes(&out, container)
    if let exit = state.lastExit, now.terminated == nil {
      var last = KubeModel.ContainerState()
      last.terminated = Self.terminated(exit)
      out.lastState = last
    }
    return out
  }

  private func waiting(_ state: ContainerState) -> ContainerStateWaiting {
    var waiting = ContainerStateWaiting()
    let why = state.waiting ?? machine.waiting
    waiting.reason = why?.reason ?? "ContainerCreating"
    waiting.message = why.flatMap { $0.message.isEmpty ? nil : $0.message }
    guard isServed, state.waiting == nil, refusal == nil else { return waiting }
    // Kubernetes tells what keeps the whole pod waiting by events alone; the message is more than it says.
    let hasInitial = machine.containers.contains { [.initial, .sidecar].contains($0.rule.role) }
    waiting.reason = hasInitial && state.rule.role == .main ? "PodInitializing" : "ContainerCreating"
    return waiting
  }

  /// Why this node does not run the pod at all.
  private var refusal: String? {
    machine.waiting?.reason == Self.refusalReason ? machine.waiting?.message : nil
  }
  static let refusalReason = "CreateContainerConfigError"

  private static func terminated(_ exit: ContainerExit) -> ContainerStateTerminated {
    var out = ContainerStateTerminated()
    out.containerID = "martlet://\(exit.id)"
    out.exitCode = exit.code
    out.reason = exit.reason
    out.message = exit.message.isEmpty ? nil : exit.message
    out.startedAt = exit.startedAt > 0 ? Time(secondsSinceEpoch: exit.startedAt / 1_000_000_000) : nil
    out.finishedAt = exit.finishedAt > 0 ? Time(secondsSinceEpoch: exit.finishedAt / 1_000_000_000) : nil
    return out
  }
}
