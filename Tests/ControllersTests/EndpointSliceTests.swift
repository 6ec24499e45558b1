import KubeModel
import Testing

@testable import Controllers

@Suite struct EndpointSliceTests {
  private func service(ports: [(name: String?, target: IntOrString?)] = [("http", .int(8080))]) -> Service {
    var service = Service()
    service.metadata.name = "web"
    service.metadata.namespace = "default"
    service.metadata.uid = "s-1"
    service.metadata.labels = ["team": "a"]
    service.spec.selector = ["app": "web"]
    service.spec.clusterIP = "10.96.0.7"
    service.spec.ipFamilies = ["IPv4"]
    service.spec.ports = ports.map { name, target in
      var port = ServicePort()
      (port.name, port.port, port.targetPort, port.protocol) = (name, 80, target, "TCP")
      return port
    }
    return service
  }

  private func pods(_ range: Range<Int>) -> [Pod] {
    range.map { Make.pod("p\($0)", address: "10.1.\($0 / 200).\($0 % 200 + 1)") }
  }

  /// What the API holds after a plan.
  private func apply(_ plan: EndpointSlicePlan, to slices: [EndpointSlice], made: inout Int) -> [EndpointSlice] {
    var slices = slices.filter { slice in !plan.deletions.contains { $0.metadata.uid == slice.metadata.uid } }
    for update in plan.updates {
      if let index = slices.firstIndex(where: { $0.metadata.uid == update.metadata.uid }) { slices[index] = update }
    }
    for var creation in plan.creations {
      made += 1
      creation.metadata.name = "web-\(made)"
      creation.metadata.uid = "slice-\(made)"
      slices.append(creation)
    }
    return slices
  }

  /// What each of three pods is hinted at: on n1 in the west, on n2 without a zone, and one that is not ready.
  @Test(
    arguments: [
      (nil, [nil, nil, nil]), ("PreferClose", ["west /", nil, nil]), ("PreferSameZone", ["west /", nil, nil]),
      ("PreferSameNode", ["west / n1", " / n2", nil]),
    ] as [(String?, [String?])])
  func endpointsAreHintedAtWhomTheyAreNear(_ distribution: String?, _ expected: [String?]) throws {
    var near = service()
    near.spec.trafficDistribution = distribution
    var other = Make.pod("other", address: "10.1.0.2")
    other.spec.nodeName = "n2"
    let pods = [
      Make.pod("a", address: "10.1.0.1"), other, Make.pod("slow", readySince: nil, address: "10.1.0.3"),
    ]
    let zones = ["n1": "west"]
    let plan = EndpointSlicePlan(for: near, pods: pods, slices: [], zones: zones)
    let endpoints = try #require(plan.creations.first).endpoints.sorted { $0.addresses[0] < $1.addresses[0] }
    let hints = endpoints.map { endpoint in
      endpoint.hints.map {
        let nodes = $0.forNodes.map(\.name).joined(separator: ",")
        return "\($0.forZones.map(\.name).joined(separator: ",")) /" + (nodes.isEmpty ? "" : " \(nodes)")
      }
    }
    #expect(hints == expected)
    // Nothing to write again, and all of it as soon as the Service wants otherwise.
    var slice = try #require(plan.creations.first)
    slice.metadata.name = "web-1"
    #expect(EndpointSlicePlan(for: near, pods: pods, slices: [slice], zones: zones).updates.isEmpty)
    near.spec.trafficDistribution = distribution == nil ? "PreferClose" : nil
    #expect(EndpointSlicePlan(for: near, pods: pods, slices: [slice], zones: zones).updates.count == 1)
  }

  @Test func aSliceSaysWhereTheReadyPodsAre() throws {
    var going = Make.pod("going", address: "10.1.0.2")
    going.metadata.deletionTimestamp = time(5)
    let finished = Make.pod("finished", phase: "Succeeded", address: "10.1.0.9")
    let other = Make.pod("other", labels: ["app": "db"], address: "10.1.0.8")
    let plan = EndpointSlicePlan(
      for: service(),
      pods: [
        Make.pod("ready", address: "10.1.0.1"), going, Make.pod("slow", readySince: nil, address: "10.1.0.3"),
        Make.pod("waiting"), finished, other,
      ], slices: [], zones: ["n1": "west"])
    let slice = try #require(plan.creations.first)
    #expect(slice.metadata.generateName == "web-" && slice.addressType == "IPv4")
    #expect(
      slice.metadata.labels == [
        "team": "a", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
      ])
    #expect(slice.metadata.isControlled(byUID: "s-1"))
    #expect(slice.ports.map(\.port) == [8080] && slice.ports.map(\.name) == ["http"])
    let states = slice.endpoints.map { endpoint in
      "\(endpoint.addresses[0]) \(endpoint.conditions.ready ?? false) \(endpoint.conditions.serving ?? false) "
        + "\(endpoint.conditions.terminating ?? false)"
    }
    #expect(states == ["10.1.0.2 false true true", "10.1.0.1 true true false", "10.1.0.3 false false false"])
    #expect(slice.endpoints.allSatisfy { $0.nodeName == "n1" && $0.zone == "west" && $0.targetRef?.kind == "Pod" })
  }

  @Test func notReadyAddressesArePublishedWhereAskedFor() {
    var service = service()
    service.spec.publishNotReadyAddresses = true
    let plan = EndpointSlicePlan(
      for: service, pods: [Make.pod("slow", readySince: nil, address: "10.1.0.3")], slices: [], zones: [:])
    #expect(plan.creations.first?.endpoints.first?.conditions.ready == true)
  }

  @Test func namedPortsAreThoseOfEachPod() {
    func pod(_ name: String, _ port: Int32, _ address: String) -> Pod {
      var pod = Make.pod(name, address: address)
      var container = Container()
      var containerPort = ContainerPort()
      (containerPort.name, containerPort.containerPort) = ("web", port)
      container.ports = [containerPort]
      pod.spec.containers = [container]
      return pod
    }
    let plan = EndpointSlicePlan(
      for: service(ports: [("http", .string("web"))]),
      pods: [pod("a", 80, "10.1.0.1"), pod("b", 8080, "10.1.0.2"), pod("c", 80, "10.1.0.3")], slices: [], zones: [:])
    let found = plan.creations.map { "\($0.ports[0].port ?? 0): \($0.endpoints.count)" }.sorted()
    #expect(found == ["8080: 1", "80: 2"])
  }

  @Test func aPodOfAHeadlessServiceMayHaveAName() throws {
    var service = service()
    service.spec.clusterIP = "None"
    var pod = Make.pod("db-0", address: "10.1.0.1")
    pod.spec.hostname = "db-0"
    pod.spec.subdomain = "web"
    let slice = try #require(EndpointSlicePlan(for: service, pods: [pod], slices: [], zones: [:]).creations.first)
    #expect(slice.endpoints.first?.hostname == "db-0")
    #expect(slice.metadata.labels["service.kubernetes.io/headless"] == "")
  }

  @Test func aServiceWithoutPodsHasOneEmptySliceThatTheFirstPodFills() {
    var made = 0
    let empty = EndpointSlicePlan(for: service(), pods: [], slices: [], zones: [:])
    #expect(empty.creations.count == 1 && empty.creations[0].endpoints.isEmpty)
    let slices = apply(empty, to: [], made: &made)
    let again = EndpointSlicePlan(for: service(), pods: [], slices: slices, zones: [:])
    #expect(again.creations.isEmpty && again.updates.isEmpty && again.deletions.isEmpty)
    let first = EndpointSlicePlan(for: service(), pods: pods(0..<1), slices: slices, zones: [:])
    #expect(first.creations.isEmpty && first.deletions.isEmpty)
    #expect(first.updates.map(\.metadata.uid) == ["slice-1"])
  }

  @Test func oneChangedPodChangesOneSlice() {
    var made = 0
    var all = pods(0..<250)
    let slices = apply(EndpointSlicePlan(for: service(), pods: all, slices: [], zones: [:]), to: [], made: &made)
    #expect(slices.map(\.endpoints.count) == [100, 100, 50])
    all[7].status.conditions = []
    let plan = EndpointSlicePlan(for: service(), pods: all, slices: slices, zones: [:])
    #expect(plan.updates.count == 1 && plan.creations.isEmpty && plan.deletions.isEmpty)
  }

  @Test(arguments: UInt64(0)..<60)
  func whateverChangesTheSlicesSayWhatThePodsOfferInFewWrites(seed: UInt64) {
    var dice = Dice(seed: seed)
    var made = 0
    var slices: [EndpointSlice] = []
    var all: [Pod] = []
    var next = 0
    for _ in 0..<30 {
      let before = all
      for _ in 0..<Int.random(in: 0...40, using: &dice) {
        switch Int.random(in: 0..<4, using: &dice) {
        case 0 where !all.isEmpty: all.remove(at: Int.random(in: 0..<all.count, using: &dice))
        case 1 where !all.isEmpty:
          all[Int.random(in: 0..<all.count, using: &dice)].status.conditions = [
            Make.condition(dice.oneIn(2) ? "True" : "False", since: 0)
          ]
        default:
          all += pods(next..<next + 1)
          next += 1
        }
      }
      let plan = EndpointSlicePlan(for: service(), pods: all, slices: slices, zones: [:])
      slices = apply(plan, to: slices, made: &made)
      let said = slices.flatMap(\.endpoints).map { "\($0.targetRef?.name ?? "") \($0.conditions.ready ?? false)" }
      #expect(said.sorted() == all.map { "\($0.metadata.name ?? "") \($0.isReady)" }.sorted())
      #expect(slices.allSatisfy { $0.endpoints.count <= 100 } && !slices.isEmpty)
      let writes = plan.creations.count + plan.updates.count + plan.deletions.count
      if before == all, !before.isEmpty { #expect(writes == 0) }
      let settled = EndpointSlicePlan(for: service(), pods: all.reversed(), slices: slices, zones: [:])
      #expect(settled.updates.isEmpty && settled.creations.isEmpty && settled.deletions.isEmpty)
    }
  }
}
