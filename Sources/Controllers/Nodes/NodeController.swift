internal import JSON
internal import KubeClient
internal import KubeModel
internal import Logging
internal import Synchronization

/// Notices nodes that fall silent, keeps pods away from nodes that are not well, and gives nodes their addresses.
final class NodeController: Sendable {
  private struct State {
    var health: NodeHealth
    /// The Ready status that a node had when it was last looked at.
    var ready: [String: String] = [:]
    /// When taints that do not say so were first seen, by node and taint.
    var tainted: [String: [String: Time]] = [:]
  }
  private static let leaseNamespace = "kube-node-lease"

  private let context: ControllerContext
  private let addressing: PodAddressing?
  private let nodes: Informer<Node>
  private let leases: Informer<Lease>
  private let pods: Informer<Pod>
  private let queue: WorkQueue<String>
  private let recorder: EventRecorder
  private let evictions: EventRecorder
  private let state: Mutex<State>
  /// Two nodes that are given addresses at the same time must not be given the same.
  private let addressQueue: WorkQueue<String>

  init(_ context: ControllerContext) throws(PodAddressing.Refusal) {
    self.context = context
    let ranges = context.configuration.clusterCIDRs
    addressing =
      ranges.isEmpty
      ? nil : try PodAddressing(clusterCIDRs: ranges, lengths: context.configuration.nodePrefixLengths)
    nodes = context.informers.informer()
    leases = context.informers.informer()
    pods = context.informers.informer()
    queue = context.queue("nodes")
    addressQueue = context.queue("node addresses")
    recorder = context.recorder("node-controller")
    evictions = context.recorder("taint-eviction-controller")
    state = Mutex(State(health: NodeHealth(graceSeconds: context.configuration.nodeGraceSeconds)))
    pods.addIndex(Index.node) { ($0.spec.nodeName ?? "").isEmpty ? [] : [$0.spec.nodeName ?? ""] }
    nodes.onChange { [self] event in noticed(event) }
    leases.onChange { [queue] event in
      if event.object.metadata.namespace == Self.leaseNamespace { queue.add(event.object.metadata.name ?? "") }
    }
    pods.onChange { [self] event in noticed(event) }
  }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { [self] in try await evictions.run() }
      group.addTask { [self] in
        try await context.run("node-ipam", addressQueue, workers: 1) { [self] name in try await address(name) }
      }
      group.addTask { [self] in
        try await context.run("node-lifecycle", queue, recorder) { [self] name in try await pass(name) }
      }
    }
  }

  private func noticed(_ event: InformerEvent<Node>) {
    let name = event.object.metadata.name ?? ""
    queue.add(name)
    addressQueue.add(name)
    // Whether anything is evicted depends on whether any node is ready.
    let before: String? = if case .updated(let old, _) = event { Self.ready(old) } else { nil }
    if before != Self.ready(event.object) { for node in nodes.list() { queue.add(node.metadata.name ?? "") } }
  }

  private func noticed(_ event: InformerEvent<Pod>) {
    guard let name = event.object.spec.nodeName, !name.isEmpty else { return }
    switch event {
    case .added: break
    case .updated(let old, let new):
      if old.spec.nodeName == new.spec.nodeName, old.spec.tolerations == new.spec.tolerations { return }
    case .deleted: return
    }
    if nodes.get(name: name)?.spec.taints.contains(where: { $0.effect == "NoExecute" }) == true { queue.add(name) }
  }

  private static func ready(_ node: Node) -> String? { node.status.conditions.first { $0.type == "Ready" }?.status }

  // MARK: one node

  private func pass(_ name: String) async throws -> WorkOutcome {
    guard var node = nodes.get(name: name) else {
      let wasKnown = state.withLock { state in
        state.health.forget(name)
        state.tainted[name] = nil
        return state.ready.removeValue(forKey: name) != nil
      }
      if wasKnown { record(name, uid: name, "RemovingNode", "Removing Node \(name) from Controller") }
      return .done
    }
    let now = context.now
    let lease = leases.get(name: name, namespace: Self.leaseNamespace)
    let (isNew, left, before) = state.withLock { state in
      let isNew = !state.health.names.contains(name)
      state.health.observe(node, lease: lease, now: now)
      return (isNew, state.health.secondsLeft(name, now: now), state.ready[name])
    }
    if isNew { record(name, uid: node.metadata.uid, "RegisteredNode", "Registered Node \(name) in Controller") }
    if left <= 0, let conditions = NodeHealth.lostConditions(of: node, now: now) {
      context.logger.warning("node \(name) has not been heard of for \(context.configuration.nodeGraceSeconds) s")
      node.status.conditions = conditions
      node = try await context.client.updateStatus(node)
    }
    try await react(to: node, before: before)
    let mayEvict = nodes.list().contains { Self.ready($0) == "True" }
    let taints = NodeTaints.desired(for: node, mayEvict: mayEvict, now: now)
    if taints != node.spec.taints { node = try await write(taints, on: node) }
    state.withLock { $0.ready[name] = Self.ready(node) ?? "" }
    let next = try await evict(from: node)
    let check = left > 0 ? left : context.configuration.nodeCheckSeconds
    return .after(.seconds(max(1, min(check, next.map { $0 - now.secondsSinceEpoch } ?? check))))
  }

  private func record(_ name: String, uid: String?, _ reason: String, _ message: String) {
    var reference = ObjectReference()
    (reference.apiVersion, reference.kind, reference.name, reference.uid) = ("v1", Node.kind, name, uid)
    recorder.record(reference, .normal, reason: reason, "Node \(name) event: \(message)")
  }

  private func write(_ taints: [Taint], on node: Node) async throws(KubeError) -> Node {
    try await context.client.patch(
      name: node.metadata.name ?? "",
      .merge([
        "metadata": ["resourceVersion": .string(node.metadata.resourceVersion ?? "")],
        "spec": ["taints": taints.isEmpty ? .null : .array(taints.map(\.json))],
      ]))
  }

  /// The pods of a node that stops being ready are not ready either. One that is lost cannot say so itself.
  private func react(to node: Node, before: String?) async throws(KubeError) {
    let name = node.metadata.name ?? ""
    guard let ready = Self.ready(node), ready != "True", before == "True" || ready == "Unknown" else { return }
    if before == "True" {
      recorder.record(node, .normal, reason: "NodeNotReady", "Node \(name) status is now: NodeNotReady")
    }
    let now = context.now
    for pod in pods.list(index: Index.node, name) where pod.isReady {
      do throws(KubeError) {
        _ = try await context.client.updateStatus(retrying: pod) { fresh in
          guard let index = fresh.status.conditions.firstIndex(where: { $0.type == "Ready" && $0.status == "True" })
          else { return false }
          fresh.status.conditions[index].status = "False"
          fresh.status.conditions[index].lastTransitionTime = now
          return true
        }
        recorder.record(pod, .warning, reason: "NodeNotReady", "Node is not ready")
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
  }

  // MARK: eviction

  /// - Returns: when the next pod has to go, in seconds since 1970.
  private func evict(from node: Node) async throws(KubeError) -> Int64? {
    let name = node.metadata.name ?? ""
    let now = context.now
    let evicting = node.spec.taints.filter { $0.effect == "NoExecute" }
    let since = state.withLock { state -> [String: Time] in
      var seen: [String: Time] = [:]
      for taint in evicting {
        let key = "\(taint.key)=\(taint.value ?? "")"
        seen[key] = state.tainted[name]?[key] ?? now
      }
      state.tainted[name] = seen.isEmpty ? nil : seen
      return seen
    }
    guard !evicting.isEmpty else { return nil }
    var next: Int64?
    for pod in pods.list(index: Index.node, name) where !pod.metadata.isDeleting {
      let eviction = NodeTaints.eviction(
        of: pod, from: evicting, since: { since["\($0.key)=\($0.value ?? "")"] ?? now }, now: now)
      switch eviction {
      case .never: break
      case .at(let time): next = min(next ?? .max, time.secondsSinceEpoch)
      case .now: try await evict(pod)
      }
    }
    return next
  }

  private func evict(_ pod: Pod) async throws(KubeError) {
    let now = context.now
    evictions.record(pod, .normal, reason: "TaintManagerEviction", "Marking for deletion Pod \(pod.metadata.key)")
    do throws(KubeError) {
      _ = try await context.client.updateStatus(retrying: pod) { fresh in
        guard !fresh.isFinished, !fresh.status.conditions.contains(where: { $0.type == "DisruptionTarget" }) else {
          return false
        }
        var condition = PodCondition()
        condition.type = "DisruptionTarget"
        condition.status = "True"
        condition.reason = "DeletionByTaintManager"
        condition.message = "Taint manager: deleting due to NoExecute taint"
        condition.lastTransitionTime = now
        fresh.status.conditions.append(condition)
        return true
      }
      try await context.client.delete(
        Pod.self, name: pod.metadata.name ?? "", namespace: pod.metadata.namespace, uid: pod.metadata.uid)
    } catch {
      guard error.isNotFound || error.isConflict else { throw error }
    }
  }

  // MARK: addresses

  private func address(_ name: String) async throws -> WorkOutcome {
    guard let addressing, let node = nodes.get(name: name), (node.spec.podCIDR ?? "").isEmpty else { return .done }
    // From the API: the last part given may not show in the cache.
    let all: KubeList<Node> = try await context.client.listAll()
    guard let fresh = all.items.first(where: { $0.metadata.uid == node.metadata.uid }),
      (fresh.spec.podCIDR ?? "").isEmpty
    else { return .done }
    guard let parts = addressing.free(besides: all.items.flatMap(\.allPodCIDRs)), let first = parts.first else {
      recorder.record(
        node, .normal, reason: "CIDRNotAvailable", "Node \(name) status is now: CIDRNotAvailable")
      return .after(.seconds(30))
    }
    let _: Node = try await context.client.patch(
      name: name,
      .merge([
        "metadata": ["annotations": JSONValue(context.configuration.clusterFacts)],
        "spec": ["podCIDR": .string(first), "podCIDRs": .array(parts.map { .string($0) })],
      ]))
    return .done
  }
}

extension Node {
  /// Of a node that names one range twice, once is enough; of one that names it by the old field alone, too.
  fileprivate var allPodCIDRs: [String] { spec.podCIDRs + [spec.podCIDR].compactMap(\.self) }
}
