import KubeClient
import KubeModel

@testable import Controllers

/// A small cluster: the two controllers over caches that lag behind, pods that start, stop and (if asked) fail, and a
/// user who changes her mind. Everything happens in an order that a seed draws.
struct DeploymentWorld {
  struct Broken: Error, CustomStringConvertible { let description: String }

  struct Options {
    var podsFail = false
    var recreates = false
    var resizes = true
    var pauses = true
  }

  // What the API holds.
  var deployment: Deployment
  var sets: [String: ReplicaSet] = [:]
  var pods: [String: Pod] = [:]
  var revision: Int64 = 1
  var made = 0
  var now: Int64 = 1000

  // What the controllers have seen of it.
  var seenDeployment: Deployment
  var seenSets: [String: ReplicaSet] = [:]
  var seenPods: [String: Pod] = [:]
  var expectations = Expectations()
  var tracker = WriteTracker()
  var events: [String] = []

  // What was asked for since everything was last at rest.
  var leastWanted: Int
  var mostWanted: Int
  var mayStart = true

  let options: Options
  var dice: Dice

  init(seed: UInt64, options: Options) {
    var dice = Dice(seed: seed)
    let surges: [IntOrString] = [.int(1), .int(2), .string("25%"), .string("50%"), .int(0)]
    let lacks: [IntOrString] = [.int(0), .int(1), .string("25%"), .string("40%")]
    var deployment = Make.deployment(
      replicas: Int32.random(in: 1...7, using: &dice), surge: surges.randomElement(using: &dice) ?? .int(1),
      unavailable: lacks.randomElement(using: &dice) ?? .int(0))
    if options.recreates {
      deployment.spec.strategy.type = "Recreate"
      deployment.spec.strategy.rollingUpdate = nil
    }
    deployment.spec.progressDeadlineSeconds = 100_000
    deployment.spec.revisionHistoryLimit = 2
    self.deployment = deployment
    self.options = options
    self.dice = dice
    seenDeployment = deployment
    leastWanted = 0
    mostWanted = deployment.desired + deployment.maxSurge
  }

  var available: Int { pods.values.count { $0.isActive && $0.isReady } }
  var floor: Int { deployment.desired - deployment.maxUnavailable }
  var ceiling: Int { deployment.desired + deployment.maxSurge }

  mutating func nextRevision() -> String {
    revision += 1
    return String(revision)
  }

  // MARK: one step

  mutating func step() throws {
    now += dice.oneIn(3) ? 1 : 0
    switch Int.random(in: 0..<20, using: &dice) {
    case 0..<4: try deploymentPass()
    case 4..<8: if let set = pick(seenSets) { try setPass(set.metadata.key) }
    case 8: seenDeployment = deployment
    case 9..<11: seenSets = sets
    case 11..<13: seePods()
    case 13..<16: start()
    case 16..<18: stop()
    case 18: if options.podsFail, dice.oneIn(3) { fail() }
    default: if dice.oneIn(12) { restart() }
    }
  }

  private mutating func pick<T>(_ items: [String: T]) -> T? {
    items.sorted { $0.key < $1.key }.randomElement(using: &dice)?.value
  }

  /// The watch of pods catches up; the handler of the controller is told of each difference.
  mutating func seePods() {
    for (uid, pod) in pods {
      let key = owner(pod)
      let old = seenPods[uid]
      if old == nil { expectations.creationSettled(for: key) }
      if pod.metadata.isDeleting, !(old?.metadata.isDeleting ?? false) { expectations.deletionSettled(uid, for: key) }
    }
    for (uid, pod) in seenPods where pods[uid] == nil { expectations.deletionSettled(uid, for: owner(pod)) }
    seenPods = pods
  }

  private func owner(_ pod: Pod) -> ObjectKey {
    ObjectKey(namespace: "default", name: pod.metadata.controllerReference?.name ?? "")
  }

  /// The controllers die and start again: what they remembered is gone, what they see is new.
  private mutating func restart() {
    expectations = Expectations()
    tracker = WriteTracker()
    (seenDeployment, seenSets, seenPods) = (deployment, sets, pods)
  }

  // MARK: pods

  private mutating func start() {
    guard mayStart, let pod = pick(pods.filter { $0.value.isActive && !$0.value.isReady }) else { return }
    pods[pod.metadata.uid ?? ""]?.status.phase = "Running"
    pods[pod.metadata.uid ?? ""]?.status.conditions = [Make.condition("True", since: now)]
  }

  private mutating func stop() {
    guard let pod = pick(pods.filter { $0.value.metadata.isDeleting }) else { return }
    pods[pod.metadata.uid ?? ""] = nil
  }

  private mutating func fail() {
    guard let pod = pick(pods.filter { $0.value.isActive && $0.value.isReady }) else { return }
    if dice.oneIn(2) {
      pods[pod.metadata.uid ?? ""]?.status.conditions = [Make.condition("False", since: now)]
    } else {
      pods[pod.metadata.uid ?? ""]?.status.phase = "Failed"
    }
  }

  // MARK: the ReplicaSet controller

  mutating func setPass(_ key: ObjectKey) throws {
    guard let set = seenSets.values.first(where: { $0.metadata.key == key }) else { return }
    let near = seenPods.sorted { $0.key < $1.key }.map(\.value).filter(\.isActive)
    let owned = Claims(of: set.metadata, selector: set.spec.selector, among: near).owned
    if expectations.areMet(for: key, now: time(now)) {
      let plan = ReplicaSetPlan(for: set, pods: owned, related: near, now: time(now))
      if plan.creations > 0 {
        expectations.expectCreations(plan.creations, for: key, now: time(now))
        for _ in 0..<plan.creations { try create(for: set) }
      } else if !plan.deletions.isEmpty {
        expectations.expectDeletions(plan.deletions.compactMap(\.metadata.uid), for: key, now: time(now))
        for pod in plan.deletions { try delete(pod) }
      }
    }
    let going = expectations.openDeletions(for: key, now: time(now))
    let staying = owned.filter { !going.contains($0.metadata.uid ?? "") }
    let status = ReplicaSetPlan.status(of: set, pods: staying, failure: nil, now: time(now))
    guard let uid = set.metadata.uid, var current = sets[uid], status != current.status else { return }
    current.status = status
    current.metadata.resourceVersion = nextRevision()
    sets[uid] = current
  }

  private mutating func create(for set: ReplicaSet) throws {
    guard sets[set.metadata.uid ?? ""] != nil else { return }
    made += 1
    var pod = ReplicaSetPlan.pod(for: set)
    pod.metadata.name = "\(set.metadata.name ?? "")-\(made)"
    pod.metadata.uid = "pod-\(made)"
    pod.metadata.creationTimestamp = time(now)
    pod.spec.nodeName = "n\(made % 3)"
    pod.status.phase = "Pending"
    pods["pod-\(made)"] = pod
    let own = pods.values.count { $0.isActive && $0.metadata.isControlled(byUID: set.metadata.uid) }
    guard own <= mostWanted else {
      throw Broken(description: "\(set.metadata.name ?? "") has \(own) pods where \(mostWanted) is all there may be")
    }
  }

  private mutating func delete(_ pod: Pod) throws {
    guard let uid = pod.metadata.uid, let current = pods[uid], !current.metadata.isDeleting else {
      throw Broken(description: "\(pod.metadata.name ?? "") is deleted twice")
    }
    let wasAvailable = current.isActive && current.isReady
    pods[uid]?.metadata.deletionTimestamp = time(now)
    if wasAvailable, !options.podsFail, !options.recreates, available < leastWanted {
      throw Broken(
        description:
          "\(events.suffix(25).joined(separator: "\n"))\n\(available) pods are left where \(leastWanted) must be")
    }
  }

  // MARK: the Deployment controller

  mutating func deploymentPass() throws {
    let owned = Claims(
      of: seenDeployment.metadata, selector: seenDeployment.spec.selector,
      among: seenSets.sorted { $0.key < $1.key }.map(\.value)
    ).owned
    let key = seenDeployment.metadata.key
    guard tracker.isCaughtUp(key, seenSets.values.map(\.metadata), now: time(now)) else { return }
    let withPods = Set(seenPods.values.filter { !$0.isFinished }.compactMap(\.metadata.controllerReference?.uid))
    let plan = DeploymentPlan(for: seenDeployment, sets: owned, setsWithPods: withPods, now: time(now))
    events.append(
      "\(now) pass: desired \(seenDeployment.desired)/\(deployment.desired) paused \(seenDeployment.isPaused) image "
        + "\(seenDeployment.spec.template.spec.containers[0].image ?? "") sets "
        + owned.map { "\($0.metadata.name ?? "") \($0.size) \($0.status.availableReplicas ?? 0)" }.joined(
          separator: ", "))
    for action in plan.actions {
      // Killed between two writes.
      if dice.oneIn(25) { return restart() }
      guard try perform(action) else { return }
    }
  }

  /// False where the API would refuse.
  private mutating func perform(_ action: DeploymentAction) throws -> Bool {
    switch action {
    case .create(var set):
      if let existing = sets.values.first(where: { $0.metadata.name == set.metadata.name }) {
        guard case .chooseAnother(let status) = DeploymentPlan.afterNameWasTaken(seenDeployment, by: existing) else {
          return false
        }
        deployment.status = status
        return false
      }
      made += 1
      set.metadata.uid = "set-\(made)"
      set.metadata.creationTimestamp = time(now)
      set.metadata.generation = 1
      set.metadata.resourceVersion = nextRevision()
      sets["set-\(made)"] = set
      tracker.wrote(set.metadata, for: deployment.metadata.key, now: time(now))
      try checkTotal()
    case .update(var set):
      guard let uid = set.metadata.uid, let current = sets[uid],
        current.metadata.resourceVersion == set.metadata.resourceVersion
      else { return false }
      set.status = current.status
      if set.spec != current.spec { set.metadata.generation = (current.metadata.generation ?? 0) + 1 }
      set.metadata.resourceVersion = nextRevision()
      sets[uid] = set
      tracker.wrote(set.metadata, for: deployment.metadata.key, now: time(now))
      try checkTotal()
    case .delete(let set):
      guard let uid = set.metadata.uid, let current = sets[uid] else { return false }
      guard current.spec.replicas == 0 else {
        throw Broken(description: "\(current.metadata.name ?? "") is cleaned up with \(current.size) pods")
      }
      sets[uid] = nil
    case .setRevision(let revision):
      deployment.metadata.annotations[DeploymentAnnotations.revision] = revision
    case .updateStatus(let status):
      deployment.status = status
    case .event(_, _, let message):
      events.append(message)
    }
    return true
  }

  private func checkTotal() throws {
    let total = sets.values.reduce(0) { $0 + $1.size }
    guard total <= mostWanted else {
      throw Broken(
        description:
          "\(events.suffix(25).joined(separator: "\n"))\nthe sets ask for \(total) pods where \(mostWanted) is all there may be"
      )
    }
  }

  // MARK: the user

  mutating func userActs() {
    switch Int.random(in: 0..<8, using: &dice) {
    case 0..<3: deployment.spec.template = Make.template(image: "v\(Int.random(in: 1...5, using: &dice))")
    case 3: undo()
    case 4: if options.resizes { deployment.spec.replicas = Int32.random(in: 0...9, using: &dice) }
    case 5: if options.pauses { deployment.spec.paused = true }
    default: deployment.spec.paused = nil
    }
    deployment.metadata.generation = (deployment.metadata.generation ?? 0) + 1
    deployment.metadata.resourceVersion = nextRevision()
    leastWanted = min(leastWanted, floor)
    mostWanted = max(mostWanted, ceiling)
  }

  /// As kubectl undoes: the template of the last set but one, without its hash.
  mutating func undo() {
    let past = sets.values.sorted {
      DeploymentAnnotations.revisionNumber($0.metadata) > DeploymentAnnotations.revisionNumber($1.metadata)
    }
    guard past.count > 1 else { return }
    deployment.spec.template = past[1].spec.template
    deployment.spec.template.metadata.labels[TemplateHash.label] = nil
  }

  // MARK: at rest

  /// Lets everything come to rest, with nothing more going wrong.
  mutating func settle() throws {
    mayStart = true
    for _ in 0..<400 {
      now += 400
      seenDeployment = deployment
      seenSets = sets
      seePods()
      try deploymentPass()
      seenSets = sets
      for set in seenSets.values.sorted(by: { $0.metadata.key < $1.metadata.key }) { try setPass(set.metadata.key) }
      for uid in pods.keys.sorted() where pods[uid]?.isActive == true && pods[uid]?.isReady == false {
        pods[uid]?.status.phase = "Running"
        pods[uid]?.status.conditions = [Make.condition("True", since: now)]
      }
      for uid in pods.keys where pods[uid]?.metadata.isDeleting == true || pods[uid]?.isFinished == true {
        pods[uid] = nil
      }
      if isAtRest { break }
    }
    guard isAtRest else {
      throw Broken(
        description: "never at rest: \(sets.values.map { "\($0.metadata.name ?? "") \($0.size)" }), "
          + "\(available) of \(deployment.desired) available, status \(deployment.status)")
    }
    leastWanted = floor
    mostWanted = ceiling
  }

  var isAtRest: Bool {
    let current = sets.values.filter { TemplateHash.areEqual($0.spec.template, deployment.spec.template) }
    guard current.count == 1, current[0].size == deployment.desired, available == deployment.desired,
      sets.values.reduce(0, { $0 + $1.size }) == deployment.desired,
      deployment.status.updatedReplicas == Int32(deployment.desired),
      deployment.status.availableReplicas == Int32(deployment.desired),
      deployment.status.observedGeneration == deployment.metadata.generation,
      deployment.status.condition("Progressing")?.reason == "NewReplicaSetAvailable"
    else { return false }
    return sets.count <= 1 + Int(deployment.spec.revisionHistoryLimit ?? 0)
  }
}
