package import JSON
package import KubeModel

/// What of a status only its history tells: since when, what others wrote, and what is never taken back.
extension PodStatus {
  /// Conditions that the node agent of a pod writes; all others are somebody else's.
  private static let ownConditions: Set<String> = [
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", "PodResizePending",
    "PodResizeInProgress",
  ]
  /// Fields that the node agent of a pod writes, and so may take away.
  private static let ownFields: Set<String> = [
    "conditions", "containerStatuses", "hostIP", "hostIPs", "initContainerStatuses", "message", "observedGeneration",
    "phase", "podIP", "podIPs", "qosClass", "reason", "startTime",
  ]

  private var isTerminal: Bool { phase == "Succeeded" || phase == "Failed" }

  /// This status as the next one after `old`: conditions that stay keep their time, the conditions of others stay, a
  /// phase that is an end stays, and counts never go back.
  ///
  /// - Parameters:
  ///   - gates: the pod's readiness gates: without each of them being True it is not Ready.
  ///   - isDeleting: what is over keeps the pod's last addresses.
  package func continuing(_ old: PodStatus, gates: [PodReadinessGate], isDeleting: Bool, now: Time) -> PodStatus {
    var next = self
    next.startTime = old.startTime ?? now
    next.qosClass = old.qosClass ?? qosClass
    if old.isTerminal { (next.phase, next.reason, next.message) = (old.phase, old.reason, old.message) }
    if podIPs.isEmpty, isDeleting || next.isTerminal { (next.podIP, next.podIPs) = (old.podIP, old.podIPs) }
    next.containerStatuses = Self.continuing(containerStatuses, old.containerStatuses, isOver: old.isTerminal)
    next.initContainerStatuses = Self.continuing(
      initContainerStatuses, old.initContainerStatuses, isOver: old.isTerminal)
    let foreign = old.conditions.filter { other in
      !Self.ownConditions.contains(other.type) && !next.conditions.contains { $0.type == other.type }
    }
    if let missing = gates.first(where: { gate in
      !foreign.contains { $0.type == gate.conditionType && $0.status == "True" }
    }), let index = next.conditions.firstIndex(where: { $0.type == "Ready" && $0.status == "True" }) {
      next.conditions[index].status = "False"
      next.conditions[index].reason = "ReadinessGatesNotReady"
      let isThere = foreign.contains { $0.type == missing.conditionType }
      next.conditions[index].message =
        isThere
        ? "the status of pod readiness gate \"\(missing.conditionType)\" is not \"True\", but False"
        : "corresponding condition of pod readiness gate \"\(missing.conditionType)\" does not exist."
    }
    for index in next.conditions.indices {
      let before = old.conditions.first { $0.type == next.conditions[index].type }
      let stays = before?.status == next.conditions[index].status
      next.conditions[index].lastTransitionTime = (stays ? before?.lastTransitionTime : nil) ?? now
    }
    next.conditions += foreign
    return next
  }

  /// - Parameter isOver: what ended stays as it was told, also when nothing of it is left to be looked at.
  private static func continuing(
    _ new: [ContainerStatus], _ old: [ContainerStatus], isOver: Bool
  ) -> [ContainerStatus] {
    new.map { entry in
      guard let before = old.first(where: { $0.name == entry.name }) else { return entry }
      if isOver, entry.state.terminated == nil, before.state.terminated != nil { return before }
      var entry = entry
      entry.restartCount = max(entry.restartCount, before.restartCount)
      if entry.imageID.isEmpty { entry.imageID = before.imageID }
      // What ran before this agent knew the pod is told as it was told last.
      if entry.lastState.terminated == nil, entry.state.terminated == nil, entry.restartCount > 0 {
        entry.lastState = before.state.terminated == nil ? before.lastState : before.state
      }
      return entry
    }
  }

  /// The merge patch that makes `old` this status; nil where there is nothing to change.
  ///
  /// - Parameters:
  ///   - uid: the patch is refused for another pod of the name.
  ///   - revision: given, the patch is refused where somebody else has written meanwhile.
  package func patch(from old: PodStatus, uid: String, revision: String?) -> JSONValue? {
    let (new, before) = (json.object ?? JSONObject(), old.json.object ?? JSONObject())
    var status = JSONObject()
    for (key, value) in new.members where before[key] != value { status[key] = value }
    for key in before.keys where new[key] == nil && Self.ownFields.contains(key) { status[key] = .null }
    guard !status.isEmpty else { return nil }
    var metadata: JSONObject = ["uid": .string(uid)]
    if let revision { metadata["resourceVersion"] = .string(revision) }
    return ["metadata": .object(metadata), "status": .object(status)]
  }

  /// Whether somebody else writes here, too, so that a patch of ours could undo theirs.
  package var hasForeignConditions: Bool { conditions.contains { !Self.ownConditions.contains($0.type) } }
}
