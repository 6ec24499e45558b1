import Dataplane
import JSON
import Kernel
import KubeModel
import ServiceProxy
import Testing

private func service(_ name: String, _ spec: String, annotations: String = "{}") throws -> Service {
  var service = try Service(
    strict: JSONValue.parse(
      #"{"apiVersion":"v1","kind":"Service","metadata":{"name":"\#(name)","annotations":\#(annotations)},"spec":\#(spec)}"#
    ))
  service.applyDefaults()
  return service
}

private func target(
  _ labels: [String: String], _ addresses: [String], ready: Bool = true, ports: [String: UInt16] = [:],
  namespace: String = "default"
) -> ServiceTarget {
  ServiceTarget(
    namespace: namespace, labels: labels, addresses: addresses.compactMap { IPAddress($0) }, isReady: ready,
    namedPorts: ports)
}

private let ranges = [IPPrefix("10.96.0.0/16"), IPPrefix("fd00:96::/112")].compactMap { $0 }
private let web = #"{"clusterIP":"10.96.0.10","selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}]}"#

private func endpoints(_ plan: ServicePlan) -> [String] {
  plan.table.services.values.flatMap { entry in
    entry.endpoints.map { "\(entry.address) \(entry.transport) \(entry.port) > \($0.address) \($0.port)" }
  }.sorted()
}

@Suite struct ServicePlanTests {
  @Test func aServiceLeadsToTheReadyPodsThatItsSelectorFinds() throws {
    let plan = ServicePlan(
      services: [try service("web", web)],
      targets: [
        target(["app": "web", "tier": "a"], ["10.1.0.2", "fd00:1::2"]), target(["app": "web"], ["10.1.0.3"]),
        target(["app": "web"], ["10.1.0.4"], ready: false), target(["app": "db"], ["10.1.0.5"]),
        target(["app": "web"], ["10.1.0.6"], namespace: "other"),
      ], ranges: ranges)
    #expect(endpoints(plan) == ["10.96.0.10 tcp 80 > 10.1.0.2 8080", "10.96.0.10 tcp 80 > 10.1.0.3 8080"])
    #expect(plan.outcomes.map(\.problem) == [""])
  }

  @Test func namedPortsAreLookedUpInEachPod() throws {
    let spec = """
      {"clusterIP":"10.96.0.10","selector":{"app":"web"},"ports":[{"name":"a","port":80,"targetPort":"http"},
       {"name":"b","port":53,"protocol":"UDP","targetPort":"dns"}]}
      """
    let plan = ServicePlan(
      services: [try service("web", spec)],
      targets: [
        target(["app": "web"], ["10.1.0.2"], ports: ["TCP/http": 8080, "UDP/dns": 5353]),
        target(["app": "web"], ["10.1.0.3"], ports: ["TCP/http": 9090, "TCP/dns": 1]),
      ], ranges: ranges)
    #expect(
      endpoints(plan) == [
        "10.96.0.10 tcp 80 > 10.1.0.2 8080", "10.96.0.10 tcp 80 > 10.1.0.3 9090", "10.96.0.10 udp 53 > 10.1.0.2 5353",
      ])
  }

  @Test func aDualStackServiceHasAnAddressOfEachFamily() throws {
    let spec = #"{"ipFamilyPolicy":"PreferDualStack","selector":{"app":"web"},"ports":[{"port":80}]}"#
    let plan = ServicePlan(
      services: [try service("web", spec)], targets: [target(["app": "web"], ["10.1.0.2", "fd00:1::2"])], ranges: ranges
    )
    let outcome = try #require(plan.outcomes.first)
    #expect(outcome.addresses.map(\.family) == [.ipv4, .ipv6])
    #expect(zip(outcome.addresses, ranges).allSatisfy { $1.contains($0) })
    #expect(endpoints(plan).count == 2)
    #expect(endpoints(plan).contains { $0.hasSuffix("> fd00:1::2 80") })
  }

  @Test func givenAddressesStayWhateverElseComesAndGoes() throws {
    let spec = #"{"selector":{"a":"b"},"ports":[{"port":80}]}"#
    let many = try (0..<300).map { try service("s\($0)", spec) }
    let plan = ServicePlan(services: many, targets: [], ranges: ranges)
    let addresses = plan.outcomes.flatMap(\.addresses)
    #expect(Set(addresses).count == 300)
    #expect(ServicePlan(services: many.reversed(), targets: [], ranges: ranges) == plan)
    let alone = ServicePlan(services: [many[7]], targets: [], ranges: ranges)
    #expect(plan.outcomes.first { $0.name == "s7" }?.addresses == alone.outcomes.first?.addresses)
    // The range's first and last addresses are nobody's.
    #expect(!addresses.contains(IPAddress.ipv4(10, 96, 0, 0)) && !addresses.contains(IPAddress.ipv4(10, 96, 255, 255)))
  }

  @Test func aFullRangeIsAProblemOfTheOneTooMany() throws {
    let small = [IPPrefix("10.96.0.0/30")].compactMap { $0 }
    let services = try ["a", "b", "c"].map { try service($0, #"{"selector":{"a":"b"},"ports":[{"port":80}]}"#) }
    let plan = ServicePlan(services: services, targets: [], ranges: small)
    #expect(plan.outcomes.map(\.problem) == ["", "", "the service range 10.96.0.0/30 has no free address"])
    #expect(plan.table.services.count == 2)
  }

  @Test func headlessServicesHaveNoAddress() throws {
    let plan = ServicePlan(
      services: [try service("h", #"{"clusterIP":"None","selector":{"a":"b"}}"#)], targets: [], ranges: ranges)
    #expect(plan.outcomes.first?.problem == "")
    #expect(plan.outcomes.first?.addresses == [])
    #expect(plan.table.services.isEmpty)
  }

  @Test(arguments: [
    (
      #"{"type":"LoadBalancer","ports":[{"port":80}]}"#,
      "spec.type: LoadBalancer is not supported in a manifest, only ClusterIP and NodePort"
    ),
    (
      #"{"type":"NodePort","ports":[{"port":80}]}"#,
      "spec.ports[0].nodePort: required in a manifest: nobody gives one"
    ),
    (
      #"{"ports":[{"port":80,"nodePort":30080}]}"#,
      "spec.ports[0].nodePort: 30080 needs type NodePort, and to be 1 to 65535"
    ),
    (
      #"{"externalIPs":["192.0.2.7"],"ports":[{"port":80}]}"#,
      "spec.externalIPs: not served; this node was not started with --external-ips"
    ),
    (#"{"ports":[]}"#, "spec.ports: required"),
    (#"{"ports":[{"port":0}]}"#, "spec.ports[0].port: must be 1 to 65535"),
    (#"{"ports":[{"port":80},{"port":81}]}"#, "spec.ports[0].name: required where there are several ports"),
    (#"{"ports":[{"name":"a","port":80},{"name":"b","port":80}]}"#, "spec.ports[1].port: 80 stands twice"),
    (#"{"clusterIP":"10.96.0","ports":[{"port":80}]}"#, "spec.clusterIP: \"10.96.0\" is no address"),
    (#"{"clusterIP":"127.0.0.1","ports":[{"port":80}]}"#, "spec.clusterIP: 127.0.0.1 cannot be a Service's"),
    (#"{"ipFamilies":["IPX"],"ports":[{"port":80}]}"#, "spec.ipFamilies[0]: \"IPX\" is not IPv4 or IPv6"),
  ])
  func saysWhyAServiceIsNotThere(_ spec: String, _ problem: String) throws {
    let plan = ServicePlan(services: [try service("bad", spec), try service("web", web)], targets: [], ranges: ranges)
    #expect(plan.outcomes.map(\.problem) == [problem, ""])
    #expect(plan.table.services.count == 1, "the others are there all the same")
  }

  @Test func aManifestHasNodePortsAffinityAndEveryProtocol() throws {
    let spec = #"""
      {"type":"NodePort","clusterIP":"10.96.0.10","selector":{"app":"web"},"externalTrafficPolicy":"Local",
       "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
       "ports":[{"name":"a","port":80,"nodePort":30080},{"name":"b","port":5060,"protocol":"SCTP","nodePort":30081}]}
      """#
    let plan = ServicePlan(
      services: [try service("web", spec)], targets: [target(["app": "web"], ["10.1.0.2"])], ranges: ranges)
    #expect(plan.outcomes.map(\.problem) == [""])
    #expect(
      endpoints(plan) == [
        "0.0.0.0 sctp 30081 > 10.1.0.2 5060", "0.0.0.0 tcp 30080 > 10.1.0.2 80",
        "10.96.0.10 sctp 5060 > 10.1.0.2 5060", "10.96.0.10 tcp 80 > 10.1.0.2 80",
      ])
    for entry in plan.table.services.values {
      #expect(entry.affinitySeconds == 60)
      #expect((entry.outside != nil) == (entry.kind == .nodePort), "its senders keep their address")
    }
    let twin = try service("z", spec.replacing("10.96.0.10", with: "10.96.0.11"))
    let both = ServicePlan(services: [twin, try service("web", spec)], targets: [], ranges: ranges)
    #expect(both.outcomes.map(\.problem) == ["", "node port 30080 (tcp) is taken by service default/web:a"])
  }

  @Test func theFirstByNameKeepsAnAddressThatTwoWant() throws {
    let plan = ServicePlan(services: [try service("b", web), try service("a", web)], targets: [], ranges: ranges)
    #expect(plan.outcomes.map(\.problem) == ["", "spec.clusterIP: 10.96.0.10 is taken by service default/a"])
  }

  @Test func theAnnotationChoosesHowConnectionsAreSpread() throws {
    let key = ServicePlan.balanceAnnotation
    let hash = try service("h", web, annotations: #"{"\#(key)":"hash"}"#)
    #expect(ServicePlan(services: [hash], targets: [], ranges: ranges).table.services.values.first?.balance == .hash)
    let odd = try service("o", web, annotations: #"{"\#(key)":"fastest"}"#)
    let problem = ServicePlan(services: [odd], targets: [], ranges: ranges).outcomes.first?.problem
    #expect(problem == "metadata.annotations[martlet.dev/balance]: \"fastest\" is not round-robin, random or hash")
  }

  @Test func orderOfInputDoesNotMatter() throws {
    let services = try [service("a", #"{"selector":{"a":"b"},"ports":[{"port":80}]}"#), service("w", web)]
    let targets = [target(["app": "web"], ["10.1.0.2"]), target(["app": "web", "a": "b"], ["10.1.0.3"])]
    #expect(
      ServicePlan(services: services, targets: targets, ranges: ranges)
        == ServicePlan(services: services.reversed(), targets: targets.reversed(), ranges: ranges))
  }
}
