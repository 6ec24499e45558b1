import KubeClient
import KubeModel
import Testing

@testable import Controllers

@Suite struct ReplicaSetTests {
  private let set = Make.set(Make.deployment(), image: "v1", size: 2)

  @Test func podsThatAreMissedLeastGoFirst() {
    var cheap = Make.pod("cheap", readySince: 10)
    cheap.metadata.annotations[PodRanking.costAnnotation] = "-5"
    var crashing = Make.pod("crashing", readySince: 10)
    var status = ContainerStatus()
    status.restartCount = 7
    crashing.status.containerStatuses = [status]
    let crowded = [
      Make.pod("crowded-1", node: "n2", readySince: 10), Make.pod("crowded-2", node: "n2", readySince: 10),
    ]
    let pods = [
      Make.pod("old", node: "n3", readySince: 10), Make.pod("young", node: "n4", readySince: 90_000), cheap, crashing,
      Make.pod("unready", readySince: nil), Make.pod("pending", phase: "Pending", readySince: nil),
      Make.pod("nowhere", node: nil, phase: "Pending", readySince: nil),
    ]
    let ranked = PodRanking.toDelete(8, of: pods + crowded, related: crowded, now: time(100_000))
    let names = ranked.map { $0.metadata.name ?? "" }
    #expect(names.prefix(4) == ["nowhere", "pending", "unready", "cheap"])
    #expect(Set(names[4..<6]) == ["crowded-1", "crowded-2"])
    #expect(names.suffix(2) == ["young", "crashing"])
    #expect(
      PodRanking.toDelete(2, of: pods, related: [], now: time(100_000)).map(\.metadata.name) == ["nowhere", "pending"])
  }

  @Test(arguments: [(0, []), (1, [1]), (3, [1, 2]), (10, [1, 2, 4, 3])])
  func podsAreMadeInBatchesThatDouble(_ row: (Int, [Int])) {
    #expect(ReplicaSetPlan.batches(of: row.0) == row.1)
  }

  @Test func aSetThatIsGoingDoesNothing() {
    var going = set
    going.metadata.deletionTimestamp = time(1)
    let plan = ReplicaSetPlan(for: going, pods: [], related: [], now: time(1))
    #expect(plan.creations == 0 && plan.deletions.isEmpty)
  }

  @Test func onePassMakesNoMoreThanABurst() {
    var large = set
    large.spec.replicas = 2000
    #expect(ReplicaSetPlan(for: large, pods: [], related: [], now: time(1)).creations == 500)
  }

  @Test func statusCountsWhatIsReadyLongEnough() {
    var patient = set
    patient.spec.minReadySeconds = 30
    var stranger = Make.pod("stranger", labels: ["app": "web"], readySince: 100)
    stranger.metadata.labels = ["app": "web"]
    let labels = ["app": "web", TemplateHash.label: "v1"]
    let pods = [
      Make.pod("a", labels: labels, readySince: 50), Make.pod("b", labels: labels, readySince: 90), stranger,
      Make.pod("c", labels: labels, readySince: nil),
    ]
    let status = ReplicaSetPlan.status(of: patient, pods: pods, failure: .creating("quota"), now: time(100))
    #expect(status.replicas == 4 && status.readyReplicas == 3 && status.availableReplicas == 1)
    #expect(status.fullyLabeledReplicas == 3)
    #expect(status.conditions.first?.reason == "FailedCreate" && status.conditions.first?.message == "quota")
    #expect(ReplicaSetPlan.nextAvailability(of: patient, pods: pods, now: time(100)) == time(120))
    patient.status = status
    #expect(ReplicaSetPlan.status(of: patient, pods: pods, failure: nil, now: time(100)).conditions.isEmpty)
  }

  @Test func ownershipIsByUidAndOrphansAreAdopted() {
    let labels = ["app": "web", TemplateHash.label: "v1"]
    var mine = Make.pod("mine", labels: labels)
    mine.metadata.ownerReferences = [set.asController]
    var strays = mine
    strays.metadata.name = "strays"
    strays.metadata.labels = [:]
    var forerunners = mine
    forerunners.metadata.ownerReferences[0].uid = "another"
    var leaving = Make.pod("leaving", labels: labels)
    leaving.metadata.deletionTimestamp = time(1)
    let claims = Claims(
      of: set.metadata, selector: set.spec.selector,
      among: [mine, strays, forerunners, leaving, Make.pod("orphan", labels: labels), Make.pod("other")])
    #expect(claims.owned.map(\.metadata.name) == ["mine"])
    #expect(claims.released.map(\.metadata.name) == ["strays"])
    #expect(claims.adopted.map(\.metadata.name) == ["orphan"])
  }

  @Test func expectationsHoldUntilSeenOrExpired() {
    let key = ObjectKey(namespace: "default", name: "web")
    var expectations = Expectations()
    expectations.expectCreations(2, for: key, now: time(0))
    expectations.creationSettled(for: key)
    #expect(!expectations.areMet(for: key, now: time(1)))
    #expect(expectations.areMet(for: key, now: time(301)))
    expectations.creationSettled(for: key)
    #expect(expectations.areMet(for: key, now: time(1)))
    expectations.expectDeletions(["a", "b"], for: key, now: time(0))
    expectations.deletionSettled("a", for: key)
    #expect(expectations.openDeletions(for: key, now: time(1)) == ["b"])
    #expect(!expectations.areMet(for: key, now: time(1)))
    expectations.deletionSettled("b", for: key)
    #expect(expectations.areMet(for: key, now: time(1)))
  }

  @Test func aPodIsMadeAsTheTemplateSays() {
    let pod = ReplicaSetPlan.pod(for: set)
    #expect(pod.metadata.generateName == "web-v1-" && pod.metadata.namespace == "default")
    #expect(pod.metadata.labels == set.spec.template.metadata.labels)
    #expect(pod.metadata.isControlled(byUID: "rs-v1"))
    #expect(pod.spec == set.spec.template.spec)
  }

  @Test func writesAreWaitedForUntilTheyShow() {
    let key = ObjectKey(namespace: "default", name: "web")
    var tracker = WriteTracker()
    var written = set.metadata
    written.resourceVersion = "9"
    tracker.wrote(written, for: key, now: time(0))
    func isCaughtUp(_ seen: [ObjectMeta], _ now: Int64) -> Bool {
      var copy = tracker
      return copy.isCaughtUp(key, seen, now: time(now))
    }
    #expect(!isCaughtUp([], 1))
    #expect(isCaughtUp([written], 1))
    #expect(isCaughtUp([], 61))
    written.resourceVersion = "8"
    #expect(!isCaughtUp([written], 1))
    tracker.deleted(written, for: key, now: time(100))
    #expect(!isCaughtUp([written], 101))
    #expect(isCaughtUp([], 101))
  }
}
