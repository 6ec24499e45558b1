package import KubeModel

/// One thing to do for a StatefulSet. Whoever does them goes in order and stops at the first that fails.
package enum StatefulSetAction: Sendable, Hashable {
  case createClaim(PersistentVolumeClaim, pod: String)
  /// Let a claim go with other objects than now.
  case setOwners(PersistentVolumeClaim, [OwnerReference])
  case createPod(Pod)
  case deletePod(Pod)
  /// Give a pod back the labels that tell which it is.
  case updatePod(Pod)
  case updateStatus(StatefulSetStatus)
  case event(isWarning: Bool, reason: String, message: String)
}

/// What to do for a StatefulSet, given its pods and their claims.
///
/// Ordered sets do one thing at a time: a pod is made when all before it are available, and goes when all after it are
/// gone. Whatever the policy, there are never two pods of one number.
package struct StatefulSetPlan: Sendable {
  package private(set) var actions: [StatefulSetAction] = []
  /// When to plan again although nothing changed.
  package private(set) var againAfterSeconds: Int64?

  package struct Revision: Sendable {
    package let name: String
    package let template: PodTemplateSpec

    package init(name: String, template: PodTemplateSpec) {
      self.name = name
      self.template = template
    }
  }

  private let set: StatefulSet
  private let now: Time
  private let claims: [String: PersistentVolumeClaim]
  private let current: Revision
  private let update: Revision
  private var places: [Int: Pod] = [:]
  private var condemned: [(ordinal: Int, pod: Pod)] = []
  private var status: StatefulSetStatus

  /// - Parameters:
  ///   - pods: those that the set owns, finished and going ones included.
  ///   - claims: the claims of the namespace by name, those of this set at least.
  ///   - current: the revision that was rolled out last; `update`: that of the present template.
  package init(
    for set: StatefulSet, pods: [Pod], claims: [String: PersistentVolumeClaim], current: Revision, update: Revision,
    now: Time
  ) {
    self.set = set
    self.now = now
    self.claims = claims
    self.current = current
    self.update = update
    status = set.status
    let range = set.firstOrdinal..<(set.firstOrdinal + set.desired)
    for pod in pods {
      guard let ordinal = set.ordinal(of: pod) else { continue }
      if range.contains(ordinal) { places[ordinal] = pod } else { condemned.append((ordinal, pod)) }
    }
    condemned.sort { $0.ordinal > $1.ordinal }
    count(pods.filter { set.ordinal(of: $0) != nil })
    if !set.metadata.isDeleting { make(range) }
    completeRollout()
    if status != set.status { actions.append(.updateStatus(status)) }
  }

  private var minReady: Int32 { self.set.spec.minReadySeconds ?? 0 }
  private func revision(of pod: Pod) -> String { pod.metadata.labels[RevisionPlan.hashLabel] ?? "" }
  private func isReady(_ pod: Pod) -> Bool { pod.status.phase == "Running" && pod.isReady }
  private func isAvailable(_ pod: Pod) -> Bool {
    isReady(pod) && pod.isAvailable(minReadySeconds: minReady, now: now)
  }
  private func isHealthy(_ pod: Pod) -> Bool { isAvailable(pod) && !pod.metadata.isDeleting }

  // MARK: status

  private mutating func count(_ pods: [Pod]) {
    status.observedGeneration = set.metadata.generation ?? 0
    status.replicas = Int32(pods.count)
    status.readyReplicas = Int32(pods.count(where: isReady))
    status.availableReplicas = Int32(pods.count(where: isAvailable))
    let staying = pods.filter { !$0.metadata.isDeleting }
    status.currentReplicas = Int32(staying.count { revision(of: $0) == current.name })
    status.updatedReplicas = Int32(staying.count { revision(of: $0) == update.name })
    status.currentRevision = current.name
    status.updateRevision = update.name
    status.collisionCount = status.collisionCount ?? 0
    if minReady > 0 {
      let next = pods.filter(isReady).compactMap { $0.availableSince(minReadySeconds: minReady)?.secondsSinceEpoch }
        .filter { $0 > now.secondsSinceEpoch }.min()
      againAfterSeconds = next.map { max(1, $0 - now.secondsSinceEpoch) }
    }
  }

  private mutating func completeRollout() {
    guard set.spec.updateStrategy.type != "OnDelete", status.updatedReplicas == status.replicas,
      status.readyReplicas == status.replicas
    else { return }
    status.currentReplicas = status.updatedReplicas
    status.currentRevision = status.updateRevision
  }

  // MARK: pods

  private mutating func make(_ range: Range<Int>) {
    setClaimOwners()
    for ordinal in range where !fill(ordinal) && set.isOrdered { return }
    guard shrink(range) else { return }
    if set.spec.updateStrategy.type != "OnDelete" { roll(range) }
  }

  /// - Returns: false where an ordered set has to wait at this place.
  private mutating func fill(_ ordinal: Int) -> Bool {
    guard let pod = places[ordinal] else {
      create(ordinal)
      return false
    }
    if pod.metadata.isDeleting { return false }
    if pod.isFinished {
      actions.append(
        .event(
          isWarning: true, reason: "RecreatingFailedPod",
          message: "StatefulSet \(set.metadata.key) is recreating failed Pod \(pod.metadata.name ?? "")"))
      actions.append(.deletePod(pod))
      return false
    }
    makeClaims(ordinal, for: pod.metadata.name ?? "")
    var named = pod
    set.setIdentity(of: &named, ordinal)
    if named != pod { actions.append(.updatePod(named)) }
    return isHealthy(pod)
  }

  private mutating func create(_ ordinal: Int) {
    let name = set.podName(ordinal)
    // A claim that is going would take the new pod's data with it.
    let names = set.spec.volumeClaimTemplates.map { set.claimName($0, ordinal) }
    if let going = names.first(where: { claims[$0]?.metadata.isDeleting == true }) {
      actions.append(
        .event(
          isWarning: true, reason: "FailedCreate", message: "create Pod \(name) waits: pvc \(going) is being deleted"))
      againAfterSeconds = 1
      return
    }
    makeClaims(ordinal, for: name)
    let revision = keepsOldTemplate(ordinal) ? current : update
    actions.append(.createPod(set.pod(ordinal, template: revision.template, revision: revision.name)))
  }

  private func keepsOldTemplate(_ ordinal: Int) -> Bool {
    guard set.spec.updateStrategy.type != "OnDelete" else { return false }
    return ordinal < set.firstOrdinal + set.partition
  }

  private mutating func makeClaims(_ ordinal: Int, for pod: String) {
    for claim in set.claims(ordinal) where claims[claim.metadata.name ?? ""] == nil {
      actions.append(.createClaim(claim, pod: pod))
    }
  }

  private mutating func setClaimOwners() {
    guard !set.spec.volumeClaimTemplates.isEmpty else { return }
    let all =
      places.map { (ordinal: $0.key, pod: $0.value, isCondemned: false) }
      + condemned.map { (ordinal: $0.ordinal, pod: $0.pod, isCondemned: true) }
    for place in all.sorted(by: { $0.ordinal < $1.ordinal }) {
      for template in set.spec.volumeClaimTemplates {
        guard let claim = claims[set.claimName(template, place.ordinal)], !claim.metadata.isDeleting,
          let owners = set.owners(of: claim, pod: place.pod, isCondemned: place.isCondemned)
        else { continue }
        actions.append(.setOwners(claim, owners))
      }
    }
  }

  /// Takes pods that the set no longer has a place for, the highest number first.
  /// - Returns: false where an ordered set has to wait.
  private mutating func shrink(_ range: Range<Int>) -> Bool {
    let all = range.compactMap { places[$0] } + condemned.reversed().map(\.pod)
    let firstUnhealthy = all.first { !isHealthy($0) && !$0.isFinished }?.metadata.uid
    for (_, pod) in condemned {
      if pod.metadata.isDeleting {
        if set.isOrdered { return false }
        continue
      }
      // The sick pod itself may go; others wait until it is well, or gone. One that has ended will not get well.
      if set.isOrdered, !isHealthy(pod), !pod.isFinished, pod.metadata.uid != firstUnhealthy { return false }
      actions.append(.deletePod(pod))
      if set.isOrdered { return false }
    }
    return true
  }

  /// Takes pods of another revision, the highest number first, as many at a time as may be missing.
  private mutating func roll(_ range: Range<Int>) {
    let pods = range.reversed().filter { $0 >= set.firstOrdinal + set.partition }.compactMap { places[$0] }
    if set.maxUnavailable == 1 {
      for pod in pods {
        if revision(of: pod) != update.name, !pod.metadata.isDeleting { return actions.append(.deletePod(pod)) }
        if !isHealthy(pod) { return }
      }
      return
    }
    var room = set.maxUnavailable - range.count { places[$0].map { !isHealthy($0) } ?? true }
    for pod in pods where revision(of: pod) != update.name && !pod.metadata.isDeleting {
      // One that is not available anyway costs nothing.
      if isHealthy(pod) {
        guard room > 0 else { continue }
        room -= 1
      }
      actions.append(.deletePod(pod))
    }
  }
}
