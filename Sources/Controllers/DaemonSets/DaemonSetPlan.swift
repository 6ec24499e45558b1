package import KubeModel

/// What to do for a DaemonSet, given the nodes and its pods.
package struct DaemonSetPlan: Sendable {
  /// Pods made or deleted in one pass; the rest follow when the cache shows these.
  package static let burstMax = 250

  package private(set) var creations: [Pod] = []
  package private(set) var deletions: [Pod] = []
  /// Pods that failed, among those to be deleted: what an event tells.
  package private(set) var failed: [Pod] = []
  package private(set) var status: DaemonSetStatus
  /// When to plan again although nothing changed.
  package private(set) var againAfterSeconds: Int64?

  private let set: DaemonSet
  private let hash: String
  private let now: Time
  private var pods: [String: [Pod]] = [:]
  private var wanted: [String: (run: Bool, stay: Bool)] = [:]

  /// Seconds that a failed pod stays before it is replaced, so that one that fails at once does not fill the node's disk.
  package static let failedSeconds: Int64 = 5

  /// - Parameters:
  ///   - pods: those that the set owns, finished and going ones included.
  ///   - hash: of the present template.
  package init(for set: DaemonSet, nodes: [Node], pods all: [Pod], hash: String, now: Time) {
    self.set = set
    self.hash = hash
    self.now = now
    status = set.status
    for node in nodes { wanted[node.metadata.name ?? ""] = set.wants(node) }
    for pod in all {
      if let node = DaemonSet.node(of: pod) { pods[node, default: []].append(pod) } else { deletions.append(pod) }
    }
    for node in pods.keys { pods[node]?.sort { Self.isOlder($0, $1) } }
    if set.metadata.isDeleting {
      deletions = []
    } else {
      for node in Set(wanted.keys).union(pods.keys).sorted() { manage(node) }
      // Room first: what is missing everywhere is made before anything is replaced.
      if creations.isEmpty, deletions.isEmpty, set.spec.updateStrategy.type != "OnDelete" { roll() }
    }
    creations = Array(creations.prefix(Self.burstMax))
    deletions = Array(deletions.prefix(Self.burstMax))
    count()
  }

  private static func isOlder(_ left: Pod, _ right: Pod) -> Bool {
    let assigned = ((left.spec.nodeName ?? "").isEmpty ? 1 : 0, (right.spec.nodeName ?? "").isEmpty ? 1 : 0)
    if assigned.0 != assigned.1 { return assigned.0 < assigned.1 }
    return (left.metadata.createdAt, left.metadata.name ?? "") < (right.metadata.createdAt, right.metadata.name ?? "")
  }

  private func isCurrent(_ pod: Pod) -> Bool { pod.metadata.labels[RevisionPlan.hashLabel] == hash }
  private func isAvailable(_ pod: Pod) -> Bool {
    pod.isAvailable(minReadySeconds: set.spec.minReadySeconds ?? 0, now: now)
  }
  private var nodeCount: Int { wanted.values.count(where: \.run) }
  private var surge: Int { self.set.spec.updateStrategy.type == "OnDelete" ? 0 : set.maxSurge(nodeCount) }

  private mutating func again(after seconds: Int64) {
    againAfterSeconds = min(againAfterSeconds ?? seconds, max(1, seconds))
  }

  // MARK: what is missing, and what is too much

  private mutating func manage(_ node: String) {
    let here = pods[node] ?? []
    // No node, no pod; those of a node that went are collected with it.
    guard let wish = wanted[node] else {
      deletions += here.filter { !$0.metadata.isDeleting && ($0.spec.nodeName ?? "").isEmpty }
      return
    }
    if here.isEmpty {
      if wish.run { creations.append(set.pod(on: node, hash: hash)) }
      return
    }
    let staying = here.filter { !$0.metadata.isDeleting }
    guard wish.stay else {
      deletions += staying
      return
    }
    var running: [Pod] = []
    for pod in staying {
      guard pod.isFinished else {
        running.append(pod)
        continue
      }
      let age = now.secondsSinceEpoch - pod.metadata.createdAt
      if age < Self.failedSeconds {
        again(after: Self.failedSeconds - age)
      } else {
        failed.append(pod)
        deletions.append(pod)
      }
    }
    // One of each revision where a surplus is allowed, else one: of several, one that is at work.
    running = running.filter(isAvailable) + running.filter { !isAvailable($0) }
    if surge > 0 {
      deletions += running.filter(isCurrent).dropFirst() + running.filter { !isCurrent($0) }.dropFirst()
    } else {
      deletions += running.dropFirst()
    }
  }

  // MARK: rolling update

  private mutating func roll() {
    if surge > 0 { rollWithSurplus() } else { rollInPlace() }
  }

  private func pair(_ node: String) -> (new: Pod?, old: Pod?) {
    let staying = (pods[node] ?? []).filter { !$0.metadata.isDeleting && !$0.isFinished }
    return (staying.first(where: isCurrent), staying.first { !isCurrent($0) })
  }

  private var nodesInOrder: [String] { wanted.keys.sorted() }

  private mutating func rollInPlace() {
    var missing = 0
    var free: [Pod] = []
    var costly: [Pod] = []
    for node in nodesInOrder where wanted[node]?.run == true {
      switch pair(node) {
      case (nil, nil): missing += 1
      case (let new?, _): missing += isAvailable(new) ? 0 : 1
      case (nil, let old?):
        if isAvailable(old) {
          costly.append(old)
        } else {
          free.append(old)
          missing += 1
        }
      }
    }
    let room = max(0, set.maxUnavailable(of: nodeCount) - missing)
    deletions += free + costly.prefix(room)
  }

  private mutating func rollWithSurplus() {
    var surplus = 0
    var urgent: [String] = []
    var candidates: [String] = []
    for node in nodesInOrder where wanted[node]?.run == true {
      switch pair(node) {
      case (let new?, let old?):
        if isAvailable(new) { deletions.append(old) } else { surplus += 1 }
      case (nil, let old?):
        if (pods[node] ?? []).contains(where: { $0.metadata.isDeleting }) { continue }
        if isAvailable(old) { candidates.append(node) } else { urgent.append(node) }
      default: break
      }
    }
    let room = max(0, surge - surplus)
    for node in (urgent + candidates).prefix(room) { creations.append(set.pod(on: node, hash: hash)) }
  }

  // MARK: status

  private mutating func count() {
    (status.desiredNumberScheduled, status.currentNumberScheduled, status.numberMisscheduled) = (0, 0, 0)
    var (ready, available, updated): (Int32, Int32, Int32) = (0, 0, 0)
    for (node, wish) in wanted {
      let staying = (pods[node] ?? []).filter { !$0.metadata.isDeleting }
      guard wish.run else {
        if !staying.isEmpty { status.numberMisscheduled += 1 }
        continue
      }
      status.desiredNumberScheduled += 1
      guard let first = staying.first else { continue }
      status.currentNumberScheduled += 1
      let shown = staying.first(where: isAvailable) ?? staying.first(where: \.isReady) ?? first
      if shown.isReady { ready += 1 }
      if isAvailable(shown) { available += 1 }
      if staying.contains(where: isCurrent), surge == 0 || isCurrent(shown) { updated += 1 }
      if let since = shown.availableSince(minReadySeconds: set.spec.minReadySeconds ?? 0)?.secondsSinceEpoch,
        since > now.secondsSinceEpoch
      {
        again(after: since - now.secondsSinceEpoch)
      }
    }
    status.numberReady = ready
    status.numberAvailable = available
    status.numberUnavailable = status.desiredNumberScheduled - available
    status.updatedNumberScheduled = updated
    status.observedGeneration = set.metadata.generation ?? 0
  }
}
