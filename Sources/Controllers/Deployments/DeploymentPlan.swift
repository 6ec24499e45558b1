internal import KubeClient
package import KubeModel

/// One thing to do for a Deployment. Whoever does them goes in order and stops at the first that fails; the next pass
/// starts from what was reached.
package enum DeploymentAction: Sendable, Hashable {
  /// Make a ReplicaSet. Where the name is taken, `DeploymentPlan.afterNameWasTaken` says how to go on.
  case create(ReplicaSet)
  /// Write a ReplicaSet as it is here, if nobody else has written it.
  case update(ReplicaSet)
  case delete(ReplicaSet)
  /// Note the current revision on the Deployment.
  case setRevision(String)
  case updateStatus(DeploymentStatus)
  case event(isWarning: Bool, reason: String, message: String)
}

/// What to do for a Deployment, given its ReplicaSets and whether pods of old ones still run.
package struct DeploymentPlan: Sendable {
  package internal(set) var actions: [DeploymentAction] = []
  /// When to plan again although nothing changed.
  package internal(set) var againAfterSeconds: Int64?

  let deployment: Deployment
  let now: Time
  /// All but the current one, oldest first.
  var old: [ReplicaSet]
  /// The one made from the Deployment's template; sizes here are those planned.
  var new: ReplicaSet?
  /// Conditions as set so far.
  var status: DeploymentStatus

  /// - Parameters:
  ///   - sets: the ReplicaSets that the Deployment owns.
  ///   - activePods: the uids of owned sets that still have a pod which has not finished.
  package init(for deployment: Deployment, sets: [ReplicaSet], setsWithPods activePods: Set<String>, now: Time) {
    self.deployment = deployment
    self.now = now
    status = deployment.status
    let ordered = sets.sorted(by: Self.isOlder)
    new = ordered.first { TemplateHash.areEqual($0.spec.template, deployment.spec.template) }
    let uid = new?.metadata.uid
    old = ordered.filter { $0.metadata.uid != uid }
    make(activePods)
  }

  private mutating func make(_ activePods: Set<String>) {
    if deployment.spec.selector.isEmpty { return refuseToSelectAll() }
    if deployment.metadata.isDeleting {
      return finish(DeploymentStatusPlan.counted(deployment, conditions: status, all: all, new: new, now: now))
    }
    notePause()
    if deployment.isPaused || deployment.isRolling && wasResized {
      keepCurrent(mayCreate: false)
      resize()
      if deployment.isPaused { cleanUp() }
      return finish(DeploymentStatusPlan.counted(deployment, conditions: status, all: all, new: new, now: now))
    }
    if deployment.isRolling { roll() } else { recreate(activePods) }
    let status = DeploymentStatusPlan.rollingOut(deployment, conditions: status, all: all, new: new, now: now)
    againAfterSeconds = DeploymentStatusPlan.secondsToDeadline(deployment, status, now: now)
    finish(status)
  }

  var all: [ReplicaSet] { old + (new.map { [$0] } ?? []) }
  var activeOld: [ReplicaSet] { old.filter { $0.size > 0 } }

  static func isOlder(_ left: ReplicaSet, _ right: ReplicaSet) -> Bool {
    (left.metadata.createdAt, left.metadata.name ?? "") < (right.metadata.createdAt, right.metadata.name ?? "")
  }

  private mutating func finish(_ status: DeploymentStatus) {
    if status != deployment.status { actions.append(.updateStatus(status)) }
  }

  private mutating func refuseToSelectAll() {
    actions.append(
      .event(
        isWarning: true, reason: "SelectingAll",
        message: "This deployment is selecting all pods. A non-empty selector is required."))
    status.observedGeneration = deployment.metadata.generation ?? 0
    finish(status)
  }

  /// A paused Deployment makes no progress and must not be blamed for it; its deadline starts again when it goes on.
  private mutating func notePause() {
    guard deployment.progressDeadlineSeconds != nil else { return }
    let current = status.condition("Progressing")
    if current?.reason == "ProgressDeadlineExceeded" { return }
    if deployment.isPaused, current?.reason != "DeploymentPaused" {
      status.set("Progressing", "Unknown", reason: "DeploymentPaused", message: "Deployment is paused", now: now)
    } else if !deployment.isPaused, current?.reason == "DeploymentPaused" {
      status.set("Progressing", "Unknown", reason: "DeploymentResumed", message: "Deployment is resumed", now: now)
    }
  }

  /// Whether the Deployment's size is another than when its sets were last sized.
  private var wasResized: Bool {
    all.contains { set in
      guard set.size > 0,
        let noted = set.metadata.annotations[DeploymentAnnotations.desiredReplicas].flatMap({ Int($0) })
      else { return false }
      return noted != deployment.desired
    }
  }

  // MARK: the current ReplicaSet

  /// Brings the current set up to date with the Deployment, or plans it where there is none.
  mutating func keepCurrent(mayCreate: Bool) {
    let revision = 1 + (old.map { DeploymentAnnotations.revisionNumber($0.metadata) }.max() ?? 0)
    guard var current = new else {
      if mayCreate { create(revision: revision) }
      return
    }
    let before = current
    DeploymentAnnotations.describe(&current, of: deployment, revision: revision, isNew: false)
    if (current.spec.minReadySeconds ?? 0) != (deployment.spec.minReadySeconds ?? 0) {
      current.spec.minReadySeconds = deployment.spec.minReadySeconds
    }
    if current != before {
      actions.append(.update(current))
      new = current
    }
    noteRevision(current)
    if deployment.progressDeadlineSeconds != nil, status.condition("Progressing") == nil {
      status.set(
        "Progressing", "True", reason: "FoundNewReplicaSet",
        message: "Found new replica set \"\(current.metadata.name ?? "")\"", now: now)
    }
  }

  private mutating func create(revision: Int64) {
    let hash = TemplateHash.of(deployment.spec.template, collisionCount: deployment.status.collisionCount)
    var set = ReplicaSet()
    set.metadata.name = "\(deployment.metadata.name ?? "")-\(hash)"
    set.metadata.namespace = deployment.metadata.namespace
    set.metadata.ownerReferences = [deployment.asController]
    set.spec.template = deployment.spec.template
    set.spec.template.metadata.labels[TemplateHash.label] = hash
    set.metadata.labels = set.spec.template.metadata.labels
    set.spec.selector = deployment.spec.selector
    set.spec.selector.matchLabels[TemplateHash.label] = hash
    set.spec.minReadySeconds = deployment.spec.minReadySeconds
    set.spec.replicas = 0
    DeploymentAnnotations.describe(&set, of: deployment, revision: revision, isNew: true)
    new = set
    let size = newSize(of: set)
    set.spec.replicas = Int32(clamping: size)
    new = set
    actions.append(.create(set))
    if size > 0 { noteScaling(set, from: 0, to: size) }
    noteRevision(set)
    if deployment.progressDeadlineSeconds != nil {
      status.set(
        "Progressing", "True", reason: "NewReplicaSetCreated",
        message: "Created new replica set \"\(set.metadata.name ?? "")\"", now: now)
    }
  }

  private mutating func noteRevision(_ current: ReplicaSet) {
    guard let revision = current.metadata.annotations[DeploymentAnnotations.revision],
      deployment.metadata.annotations[DeploymentAnnotations.revision] != revision
    else { return }
    actions.append(.setRevision(revision))
  }

  // MARK: sizes

  /// Gives a set another size, and notes the Deployment's own on it.
  /// - Returns: whether the size changed.
  @discardableResult
  mutating func scale(_ set: ReplicaSet, to size: Int) -> Bool {
    var changed = set
    changed.spec.replicas = Int32(clamping: size)
    DeploymentAnnotations.sizes(of: deployment, on: &changed)
    guard changed != set else { return false }
    // Two writes of one set in one pass are one: the second would meet the revision that the first made.
    actions.removeAll { action in
      if case .update(let earlier) = action { earlier.metadata.uid == set.metadata.uid } else { false }
    }
    actions.append(.update(changed))
    if set.size != size { noteScaling(set, from: set.size, to: size) }
    if set.metadata.uid == new?.metadata.uid {
      new = changed
    } else if let index = old.firstIndex(where: { $0.metadata.uid == set.metadata.uid }) {
      old[index] = changed
    }
    return set.size != size
  }

  private mutating func noteScaling(_ set: ReplicaSet, from: Int, to: Int) {
    actions.append(
      .event(
        isWarning: false, reason: "ScalingReplicaSet",
        message: "Scaled \(to > from ? "up" : "down") replica set \(set.metadata.name ?? "") from \(from) to \(to)"))
  }

  /// Deletes the oldest sets of the past beyond the limit; those that still have pods, or were not yet looked at by
  /// their controller, stay.
  mutating func cleanUp() {
    guard let limit = deployment.spec.revisionHistoryLimit, limit != .max else { return }
    let candidates = old.filter { !$0.metadata.isDeleting }
    let surplus = candidates.count - Int(limit)
    guard surplus > 0 else { return }
    let byRevision = candidates.sorted {
      (DeploymentAnnotations.revisionNumber($0.metadata), $0.metadata.createdAt)
        < (DeploymentAnnotations.revisionNumber($1.metadata), $1.metadata.createdAt)
    }
    for set in byRevision.prefix(surplus)
    where set.status.replicas == 0 && set.size == 0
      && (set.metadata.generation ?? 0) <= (set.status.observedGeneration ?? 0)
    {
      actions.append(.delete(set))
    }
  }

  // MARK: a name that was taken

  package enum NameTaken: Sendable, Hashable {
    /// It is the set that was to be made; the cache was behind. Plan again when it shows.
    case isOurs
    /// Another object has the name: plan again with this status, which leads to another name.
    case chooseAnother(DeploymentStatus)
  }

  package static func afterNameWasTaken(_ deployment: Deployment, by existing: ReplicaSet) -> NameTaken {
    if existing.metadata.isControlled(byUID: deployment.metadata.uid),
      TemplateHash.areEqual(existing.spec.template, deployment.spec.template)
    {
      return .isOurs
    }
    var status = deployment.status
    status.collisionCount = (status.collisionCount ?? 0) &+ 1
    return .chooseAnother(status)
  }

  /// What the Deployment says of itself when its ReplicaSet could not be made.
  package static func afterCreationFailed(
    _ deployment: Deployment, name: String, message: String, now: Time
  ) -> [DeploymentAction] {
    let text = "Failed to create new replica set \"\(name)\": \(message)"
    var actions: [DeploymentAction] = [.event(isWarning: true, reason: "ReplicaSetCreateError", message: text)]
    guard deployment.progressDeadlineSeconds != nil else { return actions }
    var status = deployment.status
    status.set("Progressing", "False", reason: "ReplicaSetCreateError", message: text, now: now)
    if status != deployment.status { actions.append(.updateStatus(status)) }
    return actions
  }
}
