import KubeModel
import Testing

@testable import Controllers

@Suite struct DeploymentPlanTests {
  private func plan(_ deployment: Deployment, _ sets: [ReplicaSet], pods: Set<String> = [], now: Int64 = 100)
    -> DeploymentPlan
  {
    DeploymentPlan(for: deployment, sets: sets, setsWithPods: pods, now: time(now))
  }

  private func sizes(_ plan: DeploymentPlan) -> [String: Int] {
    var sizes: [String: Int] = [:]
    for action in plan.actions {
      if case .update(let set) = action { sizes[set.metadata.name ?? ""] = set.size }
    }
    return sizes
  }

  private func written(_ plan: DeploymentPlan) -> DeploymentStatus? {
    for case .updateStatus(let status) in plan.actions { return status }
    return nil
  }

  private func events(_ plan: DeploymentPlan) -> [String] {
    plan.actions.compactMap { if case .event(_, let reason, let message) = $0 { "\(reason): \(message)" } else { nil } }
  }

  struct Rounding: Sendable { var surge, unavailable: IntOrString; var replicas: Int32; var most, missing: Int }

  @Test(arguments: [
    Rounding(surge: .string("25%"), unavailable: .string("25%"), replicas: 3, most: 1, missing: 0),
    Rounding(surge: .string("25%"), unavailable: .string("25%"), replicas: 10, most: 3, missing: 2),
    Rounding(surge: .int(0), unavailable: .int(0), replicas: 4, most: 0, missing: 1),
    Rounding(surge: .int(0), unavailable: .string("10%"), replicas: 4, most: 0, missing: 1),
    Rounding(surge: .string("100%"), unavailable: .int(9), replicas: 4, most: 4, missing: 4),
    Rounding(surge: .string("nonsense"), unavailable: .int(1), replicas: 4, most: 0, missing: 1),
    Rounding(surge: .int(2), unavailable: .int(1), replicas: 0, most: 2, missing: 0),
  ])
  func sharesAreRoundedUpForSurplusAndDownForLack(_ row: Rounding) {
    let deployment = Make.deployment(replicas: row.replicas, surge: row.surge, unavailable: row.unavailable)
    #expect(deployment.maxSurge == row.most)
    #expect(deployment.maxUnavailable == row.missing)
  }

  @Test func aNewDeploymentGetsOneSetOfItsWholeSize() throws {
    let deployment = Make.deployment()
    let plan = plan(deployment, [])
    guard case .create(let set) = plan.actions.first else {
      Issue.record("nothing is made")
      return
    }
    let hash = try #require(set.metadata.labels[TemplateHash.label])
    #expect(set.metadata.name == "web-\(hash)")
    #expect(set.spec.replicas == 3)
    #expect(set.spec.selector.matchLabels == ["app": "web", TemplateHash.label: hash])
    #expect(set.spec.template.metadata.labels == ["app": "web", TemplateHash.label: hash])
    let owner = try #require(set.metadata.ownerReferences.first)
    #expect(owner.controller == true && owner.blockOwnerDeletion == true && owner.uid == "d-1")
    #expect(set.metadata.annotations[DeploymentAnnotations.revision] == "1")
    #expect(set.metadata.annotations[DeploymentAnnotations.desiredReplicas] == "3")
    #expect(set.metadata.annotations[DeploymentAnnotations.maxReplicas] == "4")
    #expect(events(plan) == ["ScalingReplicaSet: Scaled up replica set web-\(hash) from 0 to 3"])
    #expect(plan.actions.contains(.setRevision("1")))
    let status = try #require(written(plan))
    #expect(status.condition("Progressing")?.reason == "NewReplicaSetCreated")
    #expect(status.condition("Progressing")?.message == "Created new replica set \"web-\(hash)\"")
    #expect(status.condition("Available")?.reason == "MinimumReplicasUnavailable")
    #expect(plan.againAfterSeconds == 601)
  }

  @Test func aSecondTemplateStartsWithWhatTheSurplusAllows() {
    let deployment = Make.deployment(image: "v2")
    let plan = plan(deployment, [Make.set(deployment, image: "v1", size: 3)])
    guard case .create(let set) = plan.actions.first else {
      Issue.record("nothing is made")
      return
    }
    #expect(set.spec.replicas == 1)
    #expect(set.metadata.annotations[DeploymentAnnotations.revision] == "2")
    #expect(sizes(plan).isEmpty)
  }

  @Test func oldPodsGoOnlyForNewOnesThatAreAvailable() {
    let deployment = Make.deployment(image: "v2")
    let old = Make.set(deployment, image: "v1", size: 3)
    #expect(
      sizes(plan(deployment, [old, Make.set(deployment, image: "v2", size: 1, available: 0, revision: 2)])) == [:])
    #expect(
      sizes(plan(deployment, [old, Make.set(deployment, image: "v2", size: 1, revision: 2)])) == ["web-v1": 2])
  }

  @Test func whatIsBrokenAnywayGoesFirst() {
    let deployment = Make.deployment(replicas: 4, image: "v3", surge: .int(1), unavailable: .int(1))
    let sets = [
      Make.set(deployment, image: "v1", size: 2), Make.set(deployment, image: "v2", size: 2, available: 0, revision: 2),
      Make.set(deployment, image: "v3", size: 1, revision: 3),
    ]
    #expect(sizes(plan(deployment, sets)) == ["web-v2": 0])
  }

  @Test func aStatusThatLagsBehindIsNotBuiltOn() {
    let deployment = Make.deployment(image: "v2")
    var new = Make.set(deployment, image: "v2", size: 1, revision: 2)
    new.metadata.generation = 2
    #expect(sizes(plan(deployment, [Make.set(deployment, image: "v1", size: 3), new])) == [:])
  }

  @Test func anUndoneTemplateGetsItsOldSetBackUnderANewRevision() throws {
    let deployment = Make.deployment(image: "v1")
    let plan = plan(
      deployment,
      [Make.set(deployment, image: "v1", size: 0), Make.set(deployment, image: "v2", size: 3, revision: 2)])
    let updated = plan.actions.compactMap { if case .update(let set) = $0 { set } else { nil } }
    let set = try #require(updated.first)
    #expect(updated.count == 1)
    #expect(set.metadata.name == "web-v1" && set.size == 1)
    #expect(set.metadata.annotations[DeploymentAnnotations.revision] == "3")
    #expect(set.metadata.annotations[DeploymentAnnotations.revisionHistory] == "1")
    #expect(plan.actions.contains(.setRevision("3")))
  }

  @Test func aPausedDeploymentKeepsItsPodsAndItsSize() throws {
    var deployment = Make.deployment(replicas: 5, image: "v2")
    deployment.spec.paused = true
    let old = Make.set(deployment, image: "v1", size: 3, desired: 3, max: 4)
    let plan = plan(deployment, [old])
    #expect(sizes(plan) == ["web-v1": 5])
    #expect(try #require(written(plan)).condition("Progressing")?.reason == "DeploymentPaused")
    #expect(!plan.actions.contains { if case .create = $0 { true } else { false } })
  }

  @Test func aNewSizeIsSharedInProportionInTheMiddleOfARollout() {
    let deployment = Make.deployment(replicas: 15, image: "v2", surge: .int(3), unavailable: .int(2))
    let sets = [
      Make.set(deployment, image: "v1", size: 8, desired: 10, max: 13),
      Make.set(deployment, image: "v2", size: 5, available: 0, revision: 2, desired: 10, max: 13),
    ]
    #expect(sizes(plan(deployment, sets)) == ["web-v1": 11, "web-v2": 7])
  }

  @Test func recreatingWaitsForTheLastOldPod() {
    var deployment = Make.deployment(image: "v2")
    deployment.spec.strategy.type = "Recreate"
    let running = Make.set(deployment, image: "v1", size: 3)
    #expect(sizes(plan(deployment, [running])) == ["web-v1": 0])
    let stopping = Make.set(deployment, image: "v1", size: 0)
    #expect(
      !plan(deployment, [stopping], pods: ["rs-v1"]).actions.contains { if case .create = $0 { true } else { false } })
    guard case .create(let set) = plan(deployment, [stopping]).actions.first else {
      Issue.record("nothing is made")
      return
    }
    #expect(set.spec.replicas == 3)
  }

  @Test func progressEndsInAvailableOrInTheDeadline() throws {
    var deployment = Make.deployment(image: "v1")
    let set = Make.set(deployment, image: "v1", size: 3)
    let done = try #require(written(plan(deployment, [set])))
    #expect(done.condition("Progressing")?.reason == "NewReplicaSetAvailable")
    #expect(done.condition("Progressing")?.message == "ReplicaSet \"web-v1\" has successfully progressed.")
    #expect(done.condition("Available")?.status == "True")
    #expect(done.unavailableReplicas == 0 && done.readyReplicas == 3 && done.updatedReplicas == 3)

    deployment.status.set("Progressing", "True", reason: "ReplicaSetUpdated", message: "", now: time(100))
    (deployment.status.replicas, deployment.status.updatedReplicas) = (3, 3)
    let stuck = Make.set(deployment, image: "v1", size: 3, available: 0)
    #expect(try #require(written(plan(deployment, [stuck], now: 700))).condition("Progressing")?.status == "True")
    let late = try #require(written(plan(deployment, [stuck], now: 701)))
    #expect(late.condition("Progressing")?.reason == "ProgressDeadlineExceeded")
    #expect(late.condition("Progressing")?.message == "ReplicaSet \"web-v1\" has timed out progressing.")
  }

  @Test func theOldestEmptySetsBeyondTheLimitAreCleanedUp() {
    var deployment = Make.deployment(image: "v9")
    deployment.spec.revisionHistoryLimit = 1
    let current = Make.set(deployment, image: "v9", size: 3, revision: 9)
    deployment.status = DeploymentPlan(for: deployment, sets: [current], setsWithPods: [], now: time(1)).statusForTests
    var unobserved = Make.set(deployment, image: "v2", size: 0, revision: 2)
    unobserved.metadata.generation = 7
    let sets = [
      Make.set(deployment, image: "v3", size: 0, revision: 3), unobserved,
      Make.set(deployment, image: "v4", size: 0, revision: 4), current,
    ]
    let deleted = plan(deployment, sets).actions.compactMap {
      if case .delete(let set) = $0 { set.metadata.name } else { nil }
    }
    #expect(deleted == ["web-v3"])
  }

  @Test func aNameThatIsTakenLeadsToAnother() {
    let deployment = Make.deployment(image: "v1")
    let ours = Make.set(deployment, image: "v1", size: 3)
    #expect(DeploymentPlan.afterNameWasTaken(deployment, by: ours) == .isOurs)
    var another = ours
    another.metadata.ownerReferences = []
    var status = deployment.status
    status.collisionCount = 1
    #expect(DeploymentPlan.afterNameWasTaken(deployment, by: another) == .chooseAnother(status))
    #expect(
      TemplateHash.of(deployment.spec.template, collisionCount: nil)
        != TemplateHash.of(deployment.spec.template, collisionCount: 1))
  }

  @Test func aSelectorForEverythingIsRefused() {
    var deployment = Make.deployment()
    deployment.spec.selector = LabelSelector()
    #expect(
      events(plan(deployment, [])) == [
        "SelectingAll: This deployment is selecting all pods. A non-empty selector is required."
      ])
  }
}

extension DeploymentPlan {
  var statusForTests: DeploymentStatus {
    for case .updateStatus(let status) in actions { return status }
    return status
  }
}
