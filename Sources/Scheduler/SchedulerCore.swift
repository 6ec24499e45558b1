package import KubeClient
package import KubeModel

/// What the scheduler knows and decides: events in, actions out. A pure value.
///
/// A pod that was given a node counts there at once (it is assumed), before the API server says so: the next decision
/// must not give the same room away. It stops counting where binding fails, or where nothing is heard of it.
package struct SchedulerCore: Sendable {
  package enum Event: Sendable {
    /// A pod came or changed.
    case pod(Pod)
    case podGone(ObjectKey)
    case node(Node)
    case nodeGone(String)
    /// Nil: gone.
    case namespace(String, labels: [String: String]?)
    case claim(PersistentVolumeClaim)
    case claimGone(ObjectKey)
    case volume(PersistentVolume)
    case volumeGone(String)
    case storageClass(StorageClass)
    case storageClassGone(String)
    case budget(PodDisruptionBudget)
    case budgetGone(ObjectKey)
    case bound(uid: String)
    case bindFailed(uid: String)
  }
  package enum Action: Sendable {
    /// `claims` wait for the node, and are to be told of it first.
    case bind(PodFacts, node: String, claims: [ObjectKey])
    case reject(PodFacts, message: String)
    /// There is no room, but there will be on the node when the victims are gone.
    case preempt(PodFacts, node: String, victims: [PodFacts], message: String)
  }
  private enum Placement: Sendable {
    /// The API server says so.
    case confirmed(node: String)
    /// We said so. `since` is nil until binding has succeeded.
    case assumed(node: String, pod: PodFacts, failures: Int, since: Duration?)

    var node: String {
      switch self {
      case .confirmed(let node), .assumed(let node, _, _, _): node
      }
    }
  }

  /// A bound pod that the watch does not show within this time no longer counts.
  package static let assumedMax: Duration = .seconds(60)

  private let name: String
  private var scheduling = NodeChoice()
  private var random: SeededRandom
  package private(set) var nodes: [NodeSnapshot] = []
  private var nodeIndex: [String: Int] = [:]
  /// How pods lie among `nodes`; follows each of their changes.
  var relations = RelationIndex()
  private var uids: [ObjectKey: String] = [:]
  private var placements: [String: Placement] = [:]
  private var expiries = KeyedHeap<Duration, String>()
  package private(set) var queue = PodQueue()
  private var budgets: [ObjectKey: DisruptionBudget] = [:]
  /// Pods that were promised room, and where.
  private var promises: [String: (node: String, pod: PodFacts)] = [:]
  private var preemptions = 0

  /// - Parameter name: of the scheduler; pods that want another are left to it.
  package init(name: String, random: SeededRandom) {
    self.name = name
    self.random = random
  }

  /// When `next` may have something that it has not now.
  package var nextTimer: Duration? {
    switch (queue.nextTimer, expiries.first?.key) {
    case (let one?, let other?): min(one, other)
    case (let one, let other): one ?? other
    }
  }

  /// The node of a pod, also where it is only assumed.
  package func node(of uid: String) -> String? { placements[uid]?.node }

  // MARK: Events

  package mutating func handle(_ event: Event, at now: Duration) {
    switch event {
    case .pod(let pod): take(PodFacts(pod), at: now)
    case .podGone(let key):
      if let uid = uids.removeValue(forKey: key) { forget(uid, at: now) }
    case .node(let node): take(node, at: now)
    case .nodeGone(let name):
      if let index = nodeIndex[name] {
        relations.hide(index, nodes)
        nodes[index].setAbsent()
        dropIfUnused(name)
      }
    case .claim, .claimGone, .volume, .volumeGone, .storageClass, .storageClassGone: takeStorage(event, at: now)
    case .budget(let budget): budgets[ObjectKey(budget)] = DisruptionBudget(budget)
    case .budgetGone(let key): budgets[key] = nil
    case .namespace(let name, let labels):
      if scheduling.namespaces[name] != labels {
        scheduling.namespaces[name] = labels
        relations.setNamespaces(scheduling.namespaces, nodes)
        queue.cluster(changed: .podPlaced, at: now)
      }
    case .bound(let uid):
      if case .assumed(let node, let pod, let failures, nil) = placements[uid] {
        placements[uid] = .assumed(node: node, pod: pod, failures: failures, since: now)
        expiries.push(now + Self.assumedMax, uid)
      }
    case .bindFailed(let uid):
      if case .assumed(_, let pod, let failures, _) = placements[uid] {
        unplace(uid, at: now)
        queue.putFailed(pod, failures: failures + 1, at: now)
      }
    }
  }

  private mutating func takeStorage(_ event: Event, at now: Duration) {
    // Status changes are most of the news, and change nothing that decides.
    let isNews: Bool
    switch event {
    case .claim(let claim):
      let facts = VolumeFacts.Claim(claim)
      isNews = scheduling.volumes.claims.updateValue(facts, forKey: facts.key) != facts
    case .volume(let volume):
      let facts = VolumeFacts.Volume(volume)
      isNews = scheduling.volumes.volumes.updateValue(facts, forKey: facts.name) != facts
    case .storageClass(let kind):
      let facts = VolumeFacts.Class(kind)
      isNews = scheduling.volumes.classes.updateValue(facts, forKey: kind.metadata.name ?? "") != facts
    case .claimGone(let key): isNews = scheduling.volumes.claims.removeValue(forKey: key) != nil
    case .volumeGone(let name): isNews = scheduling.volumes.volumes.removeValue(forKey: name) != nil
    case .storageClassGone(let name): isNews = scheduling.volumes.classes.removeValue(forKey: name) != nil
    default: isNews = false
    }
    if isNews { queue.cluster(changed: .volume, at: now) }
  }

  private mutating func take(_ pod: PodFacts, at now: Duration) {
    // Another object under the same name: the old one is gone, though nobody said so.
    if let old = uids.updateValue(pod.uid, forKey: pod.key), old != pod.uid { forget(old, at: now) }
    if pod.isTerminal { return forget(pod.uid, at: now) }
    if let node = pod.nodeName {
      queue.remove(pod.uid)
      return place(pod, on: node, at: now)
    }
    guard pod.schedulerName == name, !pod.isDeleting, !pod.needs.isGated else { return queue.remove(pod.uid) }
    switch placements[pod.uid] {
    case .assumed(let node, _, let failures, let since):
      // News from before binding; but what it is now counts, if binding fails.
      placements[pod.uid] = .assumed(node: node, pod: pod, failures: failures, since: since)
    case .confirmed, nil:
      // Promised by an earlier life of this process.
      if !queue.contains(pod.uid), let node = pod.nominatedNode { promise(node, to: pod) }
      queue.put(pod, at: now)
    }
  }

  private mutating func place(_ pod: PodFacts, on node: String, at now: Duration) {
    var remedies: Remedies = []
    if let old = placements[pod.uid], old.node != node {
      unplace(pod.uid, at: now)
      remedies = .podPlaced
    }
    withdrawPromise(pod.uid)
    let index = index(of: node)
    let known = nodes[index].pods[pod.uid]
    put(pod, at: index)
    placements[pod.uid] = .confirmed(node: node)
    if known == nil || known?.needs.labels != pod.needs.labels { remedies.insert(.podPlaced) }
    if let known, known.needs.amounts != pod.needs.amounts || pod.isDeleting != known.isDeleting {
      remedies.insert(.podGone)
    }
    queue.cluster(changed: remedies, at: now)
  }

  private mutating func forget(_ uid: String, at now: Duration) {
    queue.remove(uid)
    withdrawPromise(uid)
    unplace(uid, at: now)
  }

  /// Gives back what the pod has on its node.
  private mutating func unplace(_ uid: String, at now: Duration) {
    guard let placement = placements.removeValue(forKey: uid) else { return }
    if let index = nodeIndex[placement.node] {
      if let pod = nodes[index].pods[uid] { relations.remove(pod, at: index, nodes) }
      nodes[index].remove(uid)
    }
    dropIfUnused(placement.node)
    queue.cluster(changed: .podGone, at: now)
  }

  private mutating func take(_ node: Node, at now: Duration) {
    let index = index(of: node.metadata.name ?? "")
    let old = nodes[index]
    var new = old
    new.set(node)
    guard !new.offersTheSame(as: old) else {
      // Images; they score alone.
      nodes[index] = new
      return
    }
    relations.hide(index, nodes)
    nodes[index] = new
    relations.show(index, nodes)
    queue.cluster(changed: .node, at: now)
  }

  private mutating func put(_ pod: PodFacts, at index: Int) {
    let old = nodes[index].pods[pod.uid]
    let isNews = old.map { !RelationIndex.countsTheSame($0, pod) } ?? true
    if isNews, let old { relations.remove(old, at: index, nodes) }
    nodes[index].add(pod)
    if isNews { relations.add(pod, at: index, nodes) }
  }

  private mutating func index(of name: String) -> Int {
    if let index = nodeIndex[name] { return index }
    nodes.append(NodeSnapshot(name: name))
    nodeIndex[name] = nodes.count - 1
    relations.appended(nodes.count - 1, nodes)
    return nodes.count - 1
  }

  private mutating func dropIfUnused(_ name: String) {
    guard let index = nodeIndex[name], !nodes[index].isPresent, nodes[index].pods.isEmpty else { return }
    nodeIndex[name] = nil
    relations.removed(index)
    let last = nodes.removeLast()
    if index < nodes.count {
      nodes[index] = last
      nodeIndex[last.name] = index
    }
  }

  // MARK: Decisions

  /// Decides about the pod whose turn it is; nil where there is none.
  package mutating func next(at now: Duration) -> Action? {
    expire(at: now)
    guard let (pod, failures) = queue.pop(at: now) else { return nil }
    let decision = scheduling.decide(pod, nodes: nodes, Relations(pod, nodes, &relations), random: &random)
    guard case .bind(let node) = decision else { return refuse(pod, failures, decision, at: now) }
    withdrawPromise(pod.uid)
    put(pod, at: index(of: node))
    placements[pod.uid] = .assumed(node: node, pod: pod, failures: failures, since: nil)
    queue.cluster(changed: .podPlaced, at: now)
    return .bind(pod, node: node, claims: pod.needs.claims.isEmpty ? [] : scheduling.volumes.unbound(of: pod))
  }

  private mutating func refuse(_ pod: PodFacts, _ failures: Int, _ decision: Decision, at now: Duration) -> Action {
    var remedies = decision.remedies
    var message = decision.message
    var found: Preemption?
    if case .unschedulable(let count, _) = decision, count > 0 {
      preemptions += 1
      let (preemption, why) = Preemption.plan(
        for: pod, scheduling, nodes, Array(budgets.values), relations, offset: preemptions)
      found = preemption
      if preemption == nil { message += " preemption: \(why)" }
    }
    guard let found else {
      withdrawPromise(pod.uid)
      queue.putUnschedulable(pod, failures: failures + 1, remedies, at: now)
      return .reject(pod, message: message)
    }
    promise(found.node, to: pod)
    remedies.insert(.podGone)
    queue.putUnschedulable(pod, failures: failures + 1, remedies, at: now)
    return .preempt(pod, node: found.node, victims: found.victims, message: message)
  }

  // MARK: Promises

  private mutating func promise(_ node: String, to pod: PodFacts) {
    withdrawPromise(pod.uid)
    promises[pod.uid] = (node, pod)
    scheduling.nominated[node, default: []].append(pod)
  }

  private mutating func withdrawPromise(_ uid: String) {
    guard let (node, _) = promises.removeValue(forKey: uid) else { return }
    scheduling.nominated[node]?.removeAll { $0.uid == uid }
    if scheduling.nominated[node]?.isEmpty == true { scheduling.nominated[node] = nil }
  }

  private mutating func expire(at now: Duration) {
    while let first = expiries.first, first.key <= now {
      expiries.pop()
      // Timers of an earlier placement come too early for this one.
      guard case .assumed(_, let pod, let failures, let since?) = placements[first.value],
        since + Self.assumedMax <= now
      else { continue }
      unplace(first.value, at: now)
      queue.putFailed(pod, failures: failures + 1, at: now)
    }
  }
}

extension NodeSnapshot {
  /// Nothing that decides about pods has changed: heartbeats change the rest of a node all the time.
  func offersTheSame(as other: NodeSnapshot) -> Bool {
    isPresent == other.isPresent && isUnschedulable == other.isUnschedulable && labels == other.labels
      && hardTaints == other.hardTaints && softTaints == other.softTaints && allocatable == other.allocatable
  }
}
