import JSON
import KubeModel
import Testing

@testable import Controllers

@Suite struct StatefulSetTests {
  private static func set(_ replicas: Int32 = 3, change: (inout StatefulSet) -> Void = { _ in }) -> StatefulSet {
    var set = StatefulSet()
    (set.metadata.name, set.metadata.namespace, set.metadata.uid) = ("db", "default", "s-1")
    set.metadata.generation = 1
    set.spec.replicas = replicas
    set.spec.serviceName = "db"
    set.spec.selector.matchLabels = ["app": "web"]
    set.spec.template = Make.template(image: "v1")
    set.spec.updateStrategy.type = "RollingUpdate"
    change(&set)
    return set
  }

  private static func claim(_ name: String = "data") -> PersistentVolumeClaim {
    var claim = PersistentVolumeClaim()
    claim.metadata.name = name
    claim.spec.accessModes = ["ReadWriteOnce"]
    claim.spec.resources.requests["storage"] = Quantity("1Gi")
    return claim
  }

  private func plan(
    _ set: StatefulSet, _ pods: [Pod], claims: [PersistentVolumeClaim] = [], current: String = "r1",
    update: String = "r1",
    now: Int64 = 100
  ) -> StatefulSetPlan {
    var named: [String: PersistentVolumeClaim] = [:]
    for claim in claims { named[claim.metadata.name ?? ""] = claim }
    return StatefulSetPlan(
      for: set, pods: pods, claims: named, current: .init(name: current, template: Make.template(image: "v0")),
      update: .init(name: update, template: set.spec.template), now: time(now))
  }

  private func pod(_ ordinal: Int, of set: StatefulSet, revision: String = "r1", ready: Bool = true) -> Pod {
    var pod = set.pod(ordinal, template: set.spec.template, revision: revision)
    pod.metadata.uid = "uid-\(ordinal)"
    pod.spec.nodeName = "n1"
    pod.status.phase = "Running"
    pod.status.conditions = [Make.condition(ready ? "True" : "False", since: 0)]
    return pod
  }

  /// `+name`, `-name`, `c:name` for claims; status and events left out.
  private func words(_ plan: StatefulSetPlan) -> String {
    plan.actions.compactMap { action in
      switch action {
      case .createClaim(let claim, _): "c:\(claim.metadata.name ?? "")"
      case .setOwners(let claim, let owners):
        "o:\(claim.metadata.name ?? "")=\(owners.map(\.kind).joined(separator: "+"))"
      case .createPod(let pod): "+\(pod.metadata.name ?? "")@\(pod.metadata.labels[RevisionPlan.hashLabel] ?? "")"
      case .deletePod(let pod): "-\(pod.metadata.name ?? "")"
      case .updatePod(let pod): "u:\(pod.metadata.name ?? "")"
      case .updateStatus, .event: nil
      }
    }.joined(separator: " ")
  }

  @Test func podsAreMadeOneAfterAnotherEachWithItsNameAndClaim() throws {
    let set = Self.set { $0.spec.volumeClaimTemplates = [Self.claim()] }
    #expect(words(plan(set, [])) == "c:data-db-0 +db-0@r1")
    #expect(words(plan(set, [pod(0, of: set, ready: false)])) == "c:data-db-0")
    var kept = set.claims(0)[0]
    kept.metadata.uid = "c"
    #expect(words(plan(set, [pod(0, of: set)], claims: [kept])) == "c:data-db-1 +db-1@r1")
    let made = set.pod(1, template: set.spec.template, revision: "r1")
    #expect(made.spec.hostname == "db-1")
    #expect(made.spec.subdomain == "db")
    #expect(made.metadata.labels["statefulset.kubernetes.io/pod-name"] == "db-1")
    #expect(made.metadata.labels["apps.kubernetes.io/pod-index"] == "1")
    #expect(made.spec.volumes.first?.persistentVolumeClaim?.claimName == "data-db-1")
    #expect(set.claims(1)[0].metadata.labels == ["app": "web"])
  }

  @Test func parallelPodsAreMadeAtOnceAndGoAtOnce() {
    let set = Self.set { $0.spec.podManagementPolicy = "Parallel" }
    #expect(words(plan(set, [])) == "+db-0@r1 +db-1@r1 +db-2@r1")
    let small = Self.set(1) { $0.spec.podManagementPolicy = "Parallel" }
    #expect(words(plan(small, (0..<4).map { pod($0, of: set) })) == "-db-3 -db-2 -db-1")
  }

  @Test func anOrderedSetShrinksFromItsEndOnePodAtATime() {
    let set = Self.set(1)
    #expect(words(plan(set, (0..<3).map { pod($0, of: set) })) == "-db-2")
    var going = pod(2, of: set)
    going.metadata.deletionTimestamp = time(1)
    #expect(words(plan(set, [pod(0, of: set), pod(1, of: set), going])) == "")
    // The sick one may go; it does not hold up its own end.
    #expect(words(plan(set, [pod(0, of: set), pod(1, of: set, ready: false)])) == "-db-1")
    #expect(words(plan(set, [pod(0, of: set), pod(1, of: set, ready: false), pod(2, of: set)])) == "-db-2")
  }

  @Test func anUpdateTakesTheLastPodFirstAndWaitsForIt() {
    let set = Self.set()
    let old = (0..<3).map { pod($0, of: set, revision: "r0") }
    #expect(words(plan(set, old, current: "r0")) == "-db-2")
    #expect(words(plan(set, [old[0], old[1], pod(2, of: set, ready: false)], current: "r0")) == "")
    #expect(words(plan(set, [old[0], old[1], pod(2, of: set)], current: "r0")) == "-db-1")
    #expect(words(plan(set, [old[0], old[1]], current: "r0")) == "+db-2@r1")
  }

  @Test func aPartitionKeepsTheLowerPodsAndMakesThemOfTheOldTemplate() {
    let set = Self.set {
      var rolling = RollingUpdateStatefulSetStrategy()
      rolling.partition = 2
      $0.spec.updateStrategy.rollingUpdate = rolling
    }
    let old = (0..<3).map { pod($0, of: set, revision: "r0") }
    #expect(words(plan(set, old, current: "r0")) == "-db-2")
    #expect(words(plan(set, [old[0], old[1], pod(2, of: set)], current: "r0")) == "")
    #expect(words(plan(set, [old[0], pod(2, of: set)], current: "r0")) == "+db-1@r0")
  }

  @Test func onDeleteTouchesNothingAndMakesNewPodsOfTheNewTemplate() {
    let set = Self.set { $0.spec.updateStrategy.type = "OnDelete" }
    #expect(words(plan(set, (0..<3).map { pod($0, of: set, revision: "r0") }, current: "r0")) == "")
    #expect(words(plan(set, (0..<2).map { pod($0, of: set, revision: "r0") }, current: "r0")) == "+db-2@r1")
  }

  @Test func claimsGoWithWhomTheirPolicySays() {
    let set = Self.set(1) {
      $0.spec.volumeClaimTemplates = [Self.claim()]
      var policy = StatefulSetPersistentVolumeClaimRetentionPolicy()
      (policy.whenDeleted, policy.whenScaled) = ("Delete", "Delete")
      $0.spec.persistentVolumeClaimRetentionPolicy = policy
    }
    let bare = (0..<2).map { number -> PersistentVolumeClaim in
      var claim = set.claims(number)[0]
      claim.metadata.ownerReferences = []
      return claim
    }
    let pods = (0..<2).map { pod($0, of: set) }
    #expect(words(plan(set, pods, claims: bare)) == "o:data-db-0=StatefulSet o:data-db-1=Pod -db-1")
    #expect(set.claims(0)[0].metadata.ownerReferences.map(\.kind) == ["StatefulSet"])
  }

  @Test func aFailedPodIsMadeAnewAndAPodOfAClaimThatGoesWaits() {
    let set = Self.set(1) { $0.spec.volumeClaimTemplates = [Self.claim()] }
    var failed = pod(0, of: set)
    failed.status.phase = "Failed"
    #expect(words(plan(set, [failed])) == "-db-0")
    var going = set.claims(0)[0]
    going.metadata.deletionTimestamp = time(1)
    #expect(words(plan(set, [], claims: [going])) == "")
    #expect(plan(set, [], claims: [going]).againAfterSeconds == 1)
  }

  @Test(arguments: UInt64(0)..<60)
  func whateverHappensASetComesToRestWithItsPodsInOrder(seed: UInt64) {
    var world = PodWorld(seed: seed)
    var set = Self.set(3) { set in
      if seed % 3 == 0 { set.spec.podManagementPolicy = "Parallel" }
      if seed % 4 == 0 { set.spec.volumeClaimTemplates = [Self.claim()] }
    }
    var claims: [String: PersistentVolumeClaim] = [:]
    var (current, update) = ("r0", "r0")
    func turn() {
      let plan = StatefulSetPlan(
        for: set, pods: world.all, claims: claims, current: .init(name: current, template: set.spec.template),
        update: .init(name: update, template: set.spec.template), now: world.time)
      var creations = 0
      for action in plan.actions {
        switch action {
        case .createPod(let pod):
          creations += 1
          let ordinal = set.ordinal(of: pod) ?? -1
          let lower = world.all.filter {
            (set.ordinal(of: $0) ?? .max) < ordinal && $0.isReady && !$0.metadata.isDeleting
          }
          if set.isOrdered, lower.count != ordinal { world.problems.append("db-\(ordinal) made before those below it") }
          for claim in set.claims(ordinal) where claims[claim.metadata.name ?? ""] == nil {
            world.problems.append("db-\(ordinal) made before its claim")
          }
          world.create(pod)
        case .deletePod(let pod): world.delete(pod)
        case .createClaim(let claim, _): claims[claim.metadata.name ?? ""] = claim
        case .updateStatus(let status): set.status = status
        case .updatePod, .setOwners, .event: break
        }
      }
      if set.isOrdered, creations > 1 { world.problems.append("\(creations) pods at once") }
      current = set.status.currentRevision ?? current
    }
    for step in 0..<300 {
      if world.dice.oneIn(2) { turn() } else { world.step() }
      if step % 60 == 59 {
        set.spec.replicas = Int32.random(in: 0...5, using: &world.dice)
        if world.dice.oneIn(2) { update = "r\(step)" }
      }
    }
    world.isTroubled = false
    for _ in 0..<600 {
      turn()
      world.step()
    }
    #expect(world.problems == [])
    #expect(world.all.compactMap(\.metadata.name) == (0..<set.desired).map { "db-\($0)" })
    #expect(world.all.allSatisfy { $0.metadata.labels[RevisionPlan.hashLabel] == update && $0.isReady })
    #expect(set.status.currentRevision == update)
    #expect(set.status.updatedReplicas == set.spec.replicas)
    let rest = plan(set, world.all, claims: Array(claims.values), current: current, update: update, now: world.now)
    #expect(rest.actions == [])
  }
}

@Suite struct RevisionTests {
  private func owner(_ image: String) -> StatefulSet {
    var set = StatefulSet()
    (set.metadata.name, set.metadata.namespace, set.metadata.uid) = ("db", "default", "s-1")
    set.spec.template = Make.template(image: image)
    return set
  }

  private func kept(_ plan: RevisionPlan) -> ControllerRevision {
    var revision = plan.update
    revision.metadata.uid = revision.metadata.uid ?? "u-\(revision.revision)"
    return revision
  }

  @Test func eachTemplateHasOneRevisionAndUndoingGivesItTheNextNumber() {
    let first = RevisionPlan(template: owner("v1").spec.template, of: owner("v1"), collisionCount: nil, history: [])
    #expect(first.mustCreate)
    #expect(first.update.revision == 1)
    let one = kept(first)
    let second = RevisionPlan(
      template: owner("v2").spec.template, of: owner("v2"), collisionCount: nil, history: [one])
    #expect(second.mustCreate)
    #expect(second.update.revision == 2)
    #expect(second.update.metadata.name != one.metadata.name)
    let two = kept(second)
    let again = RevisionPlan(
      template: owner("v2").spec.template, of: owner("v2"), collisionCount: nil, history: [two, one])
    #expect(!again.mustCreate && !again.mustRenumber)
    let undone = RevisionPlan(
      template: owner("v1").spec.template, of: owner("v1"), collisionCount: nil, history: [one, two])
    #expect(undone.mustRenumber)
    #expect(undone.update.revision == 3)
    #expect(undone.update.metadata.name == one.metadata.name)
  }

  @Test func theDataAreWhatKubectlPatchesWith() {
    let plan = RevisionPlan(template: owner("v1").spec.template, of: owner("v1"), collisionCount: nil, history: [])
    let template = plan.update.data?.json["spec"]?["template"]
    #expect(template?["$patch"] == "replace")
    #expect(template?["spec"]?["containers"]?[0]?["image"] == "v1")
    #expect(RevisionPlan.template(in: plan.update) == owner("v1").spec.template)
  }

  @Test func theOldestUnusedRevisionsGo() {
    let all = (1...5).map { number -> ControllerRevision in
      var revision = ControllerRevision()
      (revision.metadata.name, revision.revision) = ("r\(number)", Int64(number))
      return revision
    }
    let gone = RevisionPlan.expendable(all, live: ["r1", "r5"], limit: 1)
    #expect(gone.compactMap(\.metadata.name) == ["r2", "r3"])
  }
}
