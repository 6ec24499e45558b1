import Dataplane
import JSON
import Kernel
import KubeModel
import ServiceProxy
import Testing

private func service(_ spec: String, annotations: String = "{}") throws -> Service {
  try Service(
    lenient: JSONValue.parse(
      #"{"metadata":{"name":"web","namespace":"default","annotations":\#(annotations)},"spec":\#(spec)}"#))
}

private func slice(_ endpoints: String, type: String = "IPv4", port: String = #"{"port":8080}"#) throws
  -> EndpointSlice
{
  try EndpointSlice(
    lenient: JSONValue.parse(
      #"{"metadata":{"name":"web-1","namespace":"default"},"addressType":"\#(type)","ports":[\#(port)],"endpoints":[\#(endpoints)]}"#
    ))
}

private func endpoint(
  _ address: String, _ conditions: String = #"{"ready":true}"#, node: String = "n1", uid: String = ""
) -> String {
  #"{"addresses":["\#(address)"],"conditions":\#(conditions),"nodeName":"\#(node)","targetRef":{"kind":"Pod","uid":"\#(uid)"}}"#
}

private let web = #"{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],"ports":[{"port":80}]}"#

/// Each entry in a line: `10.96.0.10 tcp 80 > 10.1.0.2:8080`; what senders outside get stands after `outside`.
private func lines(_ served: ServedService) -> [String] {
  func ends(_ endpoints: [ServiceEndpoint], _ empty: ServiceEntry.Emptiness) -> String {
    endpoints.isEmpty ? "\(empty)" : endpoints.map { "\($0.address):\($0.port)" }.joined(separator: " ")
  }
  return served.entries.map { entry in
    var text = "\(entry.address) \(entry.transport) \(entry.port)"
    if entry.balance != .roundRobin { text += " \(entry.balance)" }
    if let seconds = entry.affinitySeconds { text += " \(seconds)s" }
    if let ranges = entry.sourceRanges { text += " from[\(ranges.map(\.description).joined(separator: ","))]" }
    text += " > \(ends(entry.endpoints, entry.whenEmpty))"
    if let outside = entry.outside { text += " outside \(ends(outside, entry.outsideWhenEmpty))" }
    return text
  }
}

private func served(
  _ spec: String, _ slices: [EndpointSlice], zone: String? = nil, withdrawn: Set<String> = [],
  annotations: String = "{}", rules: ServedService.Rules = .init()
) throws -> ServedService {
  ServedService(
    try service(spec, annotations: annotations), slices: slices, node: ProxyNode(name: "n1", zone: zone),
    withdrawn: withdrawn, rules: rules)
}

private let stops = #"{"ready":false,"serving":true,"terminating":true}"#
private let unready = #"{"ready":false,"serving":false}"#

@Suite struct ServedServiceTests {
  @Test func aServiceLeadsToTheReadyEndpointsOfAllItsSlices() throws {
    let served = try served(
      web,
      [
        try slice(endpoint("10.1.0.2") + "," + endpoint("10.1.0.3", #"{"ready":false}"#)),
        try slice(endpoint("10.1.0.4", "{}")), try slice(endpoint("fd00::1"), type: "IPv6"),
      ])
    #expect(lines(served) == ["10.96.0.10 tcp 80 > 10.1.0.2:8080 10.1.0.4:8080"])
    #expect(served.problems == [])
  }

  @Test func endpointsThatStopAreOutAtOnceUnlessThereIsNoOther() throws {
    let one = try slice(endpoint("10.1.0.2", stops) + "," + endpoint("10.1.0.3"))
    #expect(lines(try served(web, [one])) == ["10.96.0.10 tcp 80 > 10.1.0.3:8080"])
    let last = try slice(endpoint("10.1.0.2", stops, uid: "u2"))
    #expect(lines(try served(web, [last])) == ["10.96.0.10 tcp 80 > 10.1.0.2:8080"])
    #expect(
      lines(try served(web, [last], withdrawn: ["u2"])) == ["10.96.0.10 tcp 80 > reject"],
      "a pod of this node that stops is out whatever the slice says")
  }

  /// One endpoint on this node and one on another, unless the Service's spec needs others.
  @Test(arguments: [
    (#"{"clusterIP":"None","ports":[{"port":80}]}"#, [String]()),
    (#"{"type":"ExternalName","externalName":"x.example"}"#, []),
    (
      #"{"type":"NodePort","clusterIP":"10.96.0.10","ports":[{"port":80,"nodePort":30080}]}"#,
      ["10.96.0.10 tcp 80 > 10.1.0.2:8080 10.2.0.3:8080", "0.0.0.0 tcp 30080 > 10.1.0.2:8080 10.2.0.3:8080"]
    ),
    (
      #"{"type":"NodePort","externalTrafficPolicy":"Local","clusterIP":"10.96.0.10","ports":[{"port":80,"nodePort":30080}]}"#,
      [
        "10.96.0.10 tcp 80 > 10.1.0.2:8080 10.2.0.3:8080",
        "0.0.0.0 tcp 30080 > 10.1.0.2:8080 10.2.0.3:8080 outside 10.1.0.2:8080",
      ]
    ),
    (
      #"{"clusterIP":"10.96.0.10","internalTrafficPolicy":"Local","ports":[{"port":80}]}"#,
      ["10.96.0.10 tcp 80 > 10.1.0.2:8080"]
    ),
    (
      #"{"clusterIP":"10.96.0.10","sessionAffinity":"ClientIP","ports":[{"port":80}]}"#,
      ["10.96.0.10 tcp 80 10800s > 10.1.0.2:8080 10.2.0.3:8080"]
    ),
    (
      #"{"clusterIP":"10.96.0.10","sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},"ports":[{"port":80}]}"#,
      ["10.96.0.10 tcp 80 60s > 10.1.0.2:8080 10.2.0.3:8080"]
    ),
  ])
  func kindsOfServices(_ spec: String, _ expected: [String]) throws {
    let both = try slice(endpoint("10.1.0.2") + "," + endpoint("10.2.0.3", node: "n2"))
    let served = try served(spec, [both])
    #expect(lines(served) == expected)
    #expect(served.problems == [])
  }

  @Test func sctpIsAProtocolLikeOthers() throws {
    let spec = #"{"clusterIP":"10.96.0.10","ports":[{"port":80,"protocol":"SCTP"}]}"#
    let one = try slice(endpoint("10.1.0.2"), port: #"{"port":8080,"protocol":"SCTP"}"#)
    #expect(lines(try served(spec, [one])) == ["10.96.0.10 sctp 80 > 10.1.0.2:8080"])
  }

  // MARK: traffic policies

  /// Endpoints of this node (n1) and of another; what insiders and outsiders get at a node port that stays local.
  @Test(arguments: [
    ([("10.1.0.2", "{}", "n1"), ("10.2.0.3", "{}", "n2")], "10.1.0.2:8080 10.2.0.3:8080 outside 10.1.0.2:8080"),
    ([("10.2.0.3", "{}", "n2")], "10.2.0.3:8080 outside drop"),
    ([], "reject outside reject"),
    ([("10.1.0.2", unready, "n1")], "reject outside reject"),
    // The last of this node go on while they stop, though other nodes have ready ones.
    ([("10.1.0.2", stops, "n1"), ("10.2.0.3", "{}", "n2")], "10.2.0.3:8080 outside 10.1.0.2:8080"),
    (
      [("10.1.0.2", stops, "n1"), ("10.1.0.4", "{}", "n1")],
      "10.1.0.4:8080 outside 10.1.0.4:8080"
    ),
    ([("10.1.0.2", stops, "n1")], "10.1.0.2:8080 outside 10.1.0.2:8080"),
  ])
  func externalTrafficStaysOnTheNode(_ ends: [(String, String, String)], _ expected: String) throws {
    let spec =
      #"{"type":"NodePort","externalTrafficPolicy":"Local","clusterIP":"10.96.0.10","ports":[{"port":80,"nodePort":30080}]}"#
    let all = try slice(ends.map { endpoint($0.0, $0.1, node: $0.2) }.joined(separator: ","))
    #expect(lines(try served(spec, [all])).last == "0.0.0.0 tcp 30080 > \(expected)")
  }

  @Test(arguments: [
    ("n2", "{}", "drop"), ("n2", unready, "reject"), ("n1", stops, "10.1.0.2:8080"), ("n1", "{}", "10.1.0.2:8080"),
  ])
  func internalTrafficStaysOnTheNode(_ node: String, _ conditions: String, _ expected: String) throws {
    let spec = #"{"clusterIP":"10.96.0.10","internalTrafficPolicy":"Local","ports":[{"port":80}]}"#
    let one = try slice(endpoint("10.1.0.2", conditions, node: node))
    #expect(lines(try served(spec, [one])) == ["10.96.0.10 tcp 80 > \(expected)"])
  }

  // MARK: load balancers and external addresses

  @Test func loadBalancersLeadFromTheirAddressesAndTheRangesTheyAllow() throws {
    let text = #"""
      {"metadata":{"name":"web","namespace":"default"},
       "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd96::10"],
         "loadBalancerSourceRanges":["192.0.2.9/24"," 198.51.100.0/24"],
         "ports":[{"port":80,"nodePort":30080}]},
       "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.5"},{"ip":"203.0.113.6","ipMode":"Proxy"},
         {"ip":"2001:db8::5","ipMode":"VIP"},{"hostname":"lb.example"}]}}}
      """#
    let served = ServedService(
      try Service(lenient: JSONValue.parse(text)),
      slices: [try slice(endpoint("10.1.0.2")), try slice(endpoint("fd00::2"), type: "IPv6")],
      node: ProxyNode(name: "n1"))
    #expect(
      lines(served) == [
        "10.96.0.10 tcp 80 > 10.1.0.2:8080",
        "203.0.113.5 tcp 80 from[192.0.2.0/24,198.51.100.0/24] > 10.1.0.2:8080",
        "0.0.0.0 tcp 30080 > 10.1.0.2:8080", "fd96::10 tcp 80 > fd00::2:8080",
        // Ranges of the other family let nobody in.
        "2001:db8::5 tcp 80 from[] > fd00::2:8080", ":: tcp 30080 > fd00::2:8080",
      ])
  }

  @Test func externalAddressesAreServedWhereThatIsAllowedOnly() throws {
    let spec = #"{"clusterIP":"10.96.0.10","externalIPs":["192.0.2.1"],"ports":[{"port":80}]}"#
    let one = [try slice(endpoint("10.1.0.2"))]
    let refused = try served(spec, one)
    #expect(lines(refused) == ["10.96.0.10 tcp 80 > 10.1.0.2:8080"])
    #expect(refused.problems.map(\.reason) == [.notAllowed])
    var rules = ServedService.Rules()
    rules.servesExternalIPs = true
    #expect(
      lines(try served(spec, one, rules: rules)) == [
        "10.96.0.10 tcp 80 > 10.1.0.2:8080", "192.0.2.1 tcp 80 > 10.1.0.2:8080",
      ])
  }

  @Test func healthTellsTheReadyEndpointsOfThisNode() throws {
    let spec =
      #"{"type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":31000,"clusterIP":"10.96.0.10","ports":[{"name":"a","port":80},{"name":"b","port":81}]}"#
    let ends = [
      endpoint("10.1.0.2"), endpoint("10.1.0.3"), endpoint("10.1.0.4", stops), endpoint("10.2.0.3", node: "n2"),
    ]
    let ports = #"{"name":"a","port":8080},{"name":"b","port":8081}"#
    let served = try served(spec, [try slice(ends.joined(separator: ","), port: ports)])
    #expect(served.health?.port == 31000)
    #expect(served.health?.localEndpoints == 2, "two pods, however many ports")
    let cluster = #"{"type":"LoadBalancer","healthCheckNodePort":31000,"clusterIP":"10.96.0.10","ports":[{"port":80}]}"#
    #expect(try self.healthless(cluster))
  }

  private func healthless(_ spec: String) throws -> Bool { try served(spec, []).health == nil }

  // MARK: topology

  /// Hints and zones of three ready endpoints, and which of them this node (n1 in zone a) uses.
  @Test(
    arguments: [
      (["a", "b", "a"], [nil, nil, nil], nil, "13"),
      (["a", nil, "a"], [nil, nil, nil], nil, "123"),
      (["b", "b", "c"], [nil, nil, nil], nil, "123"),
      (["a", "b", "a"], ["n1", "n2", "n3"], "PreferSameNode", "1"),
      (["a", "b", "a"], ["n4", "n2", "n3"], "PreferSameNode", "13"),
      ([nil, nil, nil], [nil, nil, nil], "PreferClose", "13"),
      ([nil, nil, nil], [nil, nil, nil], "PreferSameZone", "13"),
      ([nil, nil, nil], [nil, nil, nil], "PreferSameNode", "1"),
      ([nil, nil, nil], [nil, nil, nil], nil, "123"),
    ] as [([String?], [String?], String?, String)])
  func hintsKeepTrafficNear(
    _ zones: [String?], _ nodes: [String?], _ distribution: String?, _ expected: String
  ) throws {
    let places = [("n1", "a"), ("n2", "b"), ("n3", "a")]
    let ends = (0..<3).map { index in
      let zone = zones[index].map { #""forZones":[{"name":"\#($0)"}]"# }
      let node = nodes[index].map { #""forNodes":[{"name":"\#($0)"}]"# }
      let hints = [zone, node].compactMap(\.self).joined(separator: ",")
      return
        #"{"addresses":["10.1.0.\#(index + 1)"],"conditions":{},"nodeName":"\#(places[index].0)","zone":"\#(places[index].1)","hints":{\#(hints)}}"#
    }
    let preference = distribution.map { #""trafficDistribution":"\#($0)","# } ?? ""
    let spec = #"{\#(preference)"clusterIP":"10.96.0.10","ports":[{"port":80}]}"#
    let served = try served(spec, [try slice(ends.joined(separator: ","))], zone: "a")
    #expect(served.entries[0].endpoints.map { "\($0.address.bytes[3])" }.joined() == expected)
  }

  @Test func hintsOfEndpointsThatAreNotReadyDoNotCount() throws {
    let ends =
      #"{"addresses":["10.1.0.1"],"conditions":{},"hints":{"forZones":[{"name":"a"}]}},"#
      + #"{"addresses":["10.1.0.2"],"conditions":{"ready":false}},"#
      + #"{"addresses":["10.1.0.3"],"conditions":{},"hints":{"forZones":[{"name":"b"}]}}"#
    let served = try served(web, [try slice(ends)], zone: "a")
    #expect(lines(served) == ["10.96.0.10 tcp 80 > 10.1.0.1:8080"])
  }

  // MARK: scheduling

  @Test(arguments: [
    ("round-robin", "", 0), ("random", " random", 0), ("hash", " hash", 0), ("fastest", "", 1),
  ])
  func theAnnotationChoosesHowConnectionsAreSpread(_ value: String, _ balance: String, _ problems: Int) throws {
    let served = try served(
      web, [try slice(endpoint("10.1.0.2"))], annotations: #"{"martlet.dev/balance":"\#(value)"}"#)
    #expect(lines(served) == ["10.96.0.10 tcp 80\(balance) > 10.1.0.2:8080"])
    #expect(served.problems.filter { $0.reason == .unknownBalance }.count == problems)
  }

  @Test func servicesOfAnotherProxyAreLeftToIt() throws {
    let text =
      #"{"metadata":{"name":"web","namespace":"default","labels":{"service.kubernetes.io/service-proxy-name":"other"}},"spec":\#(web)}"#
    let service = try Service(lenient: JSONValue.parse(text))
    #expect(ServedService(service, slices: [], node: ProxyNode(name: "n1")).entries.isEmpty)
    var rules = ServedService.Rules()
    rules.proxyName = "other"
    #expect(ServedService(service, slices: [], node: ProxyNode(name: "n1"), rules: rules).entries.count == 1)
  }

  @Test func portsAreMatchedByNameAndProtocol() throws {
    let spec = #"{"clusterIP":"10.96.0.10","ports":[{"name":"a","port":80},{"name":"dns","port":53,"protocol":"UDP"}]}"#
    let ports = #"{"name":"dns","port":5353,"protocol":"UDP"},{"name":"a","port":8080,"protocol":"TCP"}"#
    #expect(
      lines(try served(spec, [try slice(endpoint("10.1.0.2"), port: ports)]))
        == ["10.96.0.10 tcp 80 > 10.1.0.2:8080", "10.96.0.10 udp 53 > 10.1.0.2:5353"])
  }

  @Test func dualStackServicesLeadToTheFamilyOfEachAddress() throws {
    let spec = #"{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd00:96::1"],"ports":[{"port":80}]}"#
    let slices = [try slice(endpoint("10.1.0.2")), try slice(endpoint("fd00:1::2"), type: "IPv6")]
    #expect(
      lines(try served(spec, slices))
        == ["10.96.0.10 tcp 80 > 10.1.0.2:8080", "fd00:96::1 tcp 80 > fd00:1::2:8080"])
  }

  // MARK: what cannot be

  @Test(arguments: [
    (
      #"{"clusterIP":"127.0.0.1","ports":[{"port":80}]}"#,
      #"spec.clusterIPs: "127.0.0.1" cannot be a Service's address"#
    ),
    (
      #"{"clusterIP":"224.0.0.1","ports":[{"port":80}]}"#,
      #"spec.clusterIPs: "224.0.0.1" cannot be a Service's address"#
    ),
    (#"{"clusterIP":"ten","ports":[{"port":80}]}"#, #"spec.clusterIPs: "ten" cannot be a Service's address"#),
    (#"{"clusterIP":"10.96.0.10","ports":[{"port":0}]}"#, "spec.ports: 0 is no port; use 1 to 65535"),
    (
      #"{"clusterIP":"10.96.0.10","ports":[{"port":80,"protocol":"ICMP"}]}"#,
      "spec.ports: the protocol ICMP of port 80 is not TCP, UDP or SCTP"
    ),
  ])
  func aServiceThatCannotBeIsNamed(_ spec: String, _ problem: String) throws {
    let served = try served(spec, [try slice(endpoint("10.1.0.2"))])
    #expect(served.entries.isEmpty)
    #expect(served.problems.map(\.message) == [problem])
  }

  @Test func badEndpointsAreNamedAndOthersServe() throws {
    let ends = ["10.1.0.2", "127.0.0.1", "169.254.169.254", "fd00::1", "nowhere"].map { endpoint($0) }
    let served = try served(web, [try slice(ends.joined(separator: ","))])
    #expect(lines(served) == ["10.96.0.10 tcp 80 > 10.1.0.2:8080"])
    #expect(
      served.problems.map(\.description) == [
        #"InvalidAddress: EndpointSlice web-1: "127.0.0.1" cannot be an endpoint's address"#,
        #"InvalidAddress: EndpointSlice web-1: "169.254.169.254" cannot be an endpoint's address"#,
        "FamilyMismatch: EndpointSlice web-1: fd00::1 is not IPv4, as its addressType says",
        #"InvalidAddress: EndpointSlice web-1: "nowhere" cannot be an endpoint's address"#,
      ])
  }

  @Test func aHundredThousandEndpointsAreCutAndNamed() throws {
    let slices = try (0..<100).map { number in
      let ends = (0..<1000).map { last in
        let index = number * 1000 + last
        return endpoint("10.\(1 + index >> 16).\(index >> 8 & 255).\(index & 255)")
      }
      return try slice(ends.joined(separator: ","))
    }
    let began = ContinuousClock.now
    let served = try served(web, slices)
    #expect(served.entries.first?.endpoints.count == ServiceTable.endpointsPerServiceMax)
    #expect(served.problems.map(\.reason) == [.tooManyEndpoints])
    #expect(ContinuousClock.now - began < .seconds(60))
  }
}

private func entry(_ address: String, _ id: String, _ ends: [String] = []) -> ServiceEntry {
  ServiceEntry(
    id: id, address: IPAddress(address) ?? .init(bytes: [0, 0, 0, 0])!, transport: .tcp, port: 80,
    endpoints: ends.compactMap { IPAddress($0) }.map { ServiceEndpoint(address: $0, port: 8080) })
}

@Suite struct ServiceLedgerTests {
  @Test func aChangeIsOnlyWhatChanged() {
    var ledger = ServiceLedger()
    let first = entry("10.96.0.1", "a", ["10.1.0.1"])
    #expect(ledger.put("a", [first]).change == .init(set: [first], remove: []))
    #expect(ledger.put("a", [first]).change.isEmpty)
    let second = entry("10.96.0.1", "a", ["10.1.0.1", "10.1.0.2"])
    let third = entry("10.96.0.2", "a")
    #expect(ledger.put("a", [second, third]).change == .init(set: [second, third], remove: []))
    #expect(ledger.put("a", [third]).change == .init(set: [], remove: [first.key]))
    #expect(ledger.entries == [third])
  }

  @Test func aTakenAddressGoesToTheNextWhenItsHolderLetsGo() {
    var ledger = ServiceLedger()
    let (mine, theirs) = (entry("10.96.0.1", "a"), entry("10.96.0.1", "b", ["10.1.0.1"]))
    _ = ledger.put("a", [mine])
    let refused = ledger.put("b", [theirs])
    #expect(refused.change.isEmpty)
    #expect(refused.taken == [theirs.key: "a"])
    #expect(ledger.put("a", []).change == .init(set: [theirs], remove: []))
    #expect(ledger.put("b", []).change == .init(set: [], remove: [theirs.key]))
    #expect(ledger.count == 0)
  }

  @Test(arguments: 1...50) func whateverHappensTheTableIsWhatTheLedgerSays(_ seed: UInt64) {
    var dice = SplitMix(seed: seed)
    var ledger = ServiceLedger()
    var table: [ServiceEntry.Key: ServiceEntry] = [:]
    for _ in 0..<200 {
      let owner = ["a", "b", "c"].randomElement(using: &dice) ?? "a"
      let entries = (1...4).filter { _ in Bool.random(using: &dice) }.map {
        entry("10.96.0.\($0)", owner, Bool.random(using: &dice) ? ["10.1.0.1"] : [])
      }
      let change = ledger.put(owner, entries).change
      for key in change.remove { table[key] = nil }
      for entry in change.set { table[entry.key] = entry }
      #expect(Set(table.values) == Set(ledger.entries))
    }
  }
}

private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
