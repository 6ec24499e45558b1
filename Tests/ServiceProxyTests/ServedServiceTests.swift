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

private func lines(_ served: ServedService) -> [String] {
  served.entries.map { entry in
    let ends = entry.endpoints.map { "\($0.address):\($0.port)" }.joined(separator: " ")
    return "\(entry.address) \(entry.transport) \(entry.port) \(entry.balance) > \(ends)"
  }.sorted()
}

@Suite struct ServedServiceTests {
  @Test func aServiceLeadsToTheReadyEndpointsOfAllItsSlices() throws {
    let served = ServedService(
      try service(web),
      slices: [
        try slice(endpoint("10.1.0.2") + "," + endpoint("10.1.0.3", #"{"ready":false}"#)),
        try slice(endpoint("10.1.0.4", "{}")), try slice(endpoint("fd00::1"), type: "IPv6"),
      ], nodeName: "n1")
    #expect(lines(served) == ["10.96.0.10 tcp 80 roundRobin > 10.1.0.2:8080 10.1.0.4:8080"])
    #expect(served.problems == [])
  }

  @Test func endpointsThatStopAreOutAtOnceUnlessThereIsNoOther() throws {
    let stops = #"{"ready":false,"serving":true,"terminating":true}"#
    let one = try slice(endpoint("10.1.0.2", stops) + "," + endpoint("10.1.0.3"))
    #expect(
      lines(ServedService(try service(web), slices: [one], nodeName: "n1"))
        == ["10.96.0.10 tcp 80 roundRobin > 10.1.0.3:8080"])
    let last = try slice(endpoint("10.1.0.2", stops, uid: "u2"))
    #expect(
      lines(ServedService(try service(web), slices: [last], nodeName: "n1"))
        == ["10.96.0.10 tcp 80 roundRobin > 10.1.0.2:8080"])
    #expect(
      lines(ServedService(try service(web), slices: [last], nodeName: "n1", withdrawn: ["u2"]))
        == ["10.96.0.10 tcp 80 roundRobin > "], "a pod of this node that stops is out whatever the slice says")
  }

  @Test(arguments: [
    (#"{"clusterIP":"None","ports":[{"port":80}]}"#, [String](), [String]()),
    (#"{"type":"ExternalName","externalName":"x.example"}"#, [], []),
    (
      #"{"type":"NodePort","clusterIP":"10.96.0.10","ports":[{"port":80,"nodePort":30080}]}"#,
      ["10.96.0.10 tcp 80 roundRobin > 10.1.0.2:8080"],
      ["spec.type: NodePort is served on its cluster address only, not on ports of the node"]
    ),
    (
      #"{"clusterIP":"10.96.0.10","sessionAffinity":"ClientIP","ports":[{"port":80}]}"#,
      ["10.96.0.10 tcp 80 hash > 10.1.0.2:8080"], []
    ),
    (
      #"{"clusterIP":"10.96.0.10","internalTrafficPolicy":"Local","ports":[{"port":80}]}"#,
      ["10.96.0.10 tcp 80 roundRobin > "], []
    ),
    (
      #"{"clusterIP":"10.96.0.10","ports":[{"port":80,"protocol":"SCTP"}]}"#, [],
      ["spec.ports: SCTP port 80 is not supported, only TCP and UDP"]
    ),
    (
      #"{"clusterIP":"127.0.0.1","ports":[{"port":80}]}"#, [],
      ["spec.clusterIPs: \"127.0.0.1\" cannot be a Service's address"]
    ),
  ])
  func kindsOfServices(_ spec: String, _ expected: [String], _ problems: [String]) throws {
    let served = ServedService(
      try service(spec), slices: [try slice(endpoint("10.1.0.2", node: "n2"))], nodeName: "n1")
    #expect(lines(served) == expected)
    #expect(served.problems == problems)
  }

  @Test func portsAreMatchedByNameAndProtocol() throws {
    let spec = #"{"clusterIP":"10.96.0.10","ports":[{"name":"a","port":80},{"name":"dns","port":53,"protocol":"UDP"}]}"#
    let ports = #"{"name":"dns","port":5353,"protocol":"UDP"},{"name":"a","port":8080,"protocol":"TCP"}"#
    #expect(
      lines(ServedService(try service(spec), slices: [try slice(endpoint("10.1.0.2"), port: ports)], nodeName: "n1"))
        == ["10.96.0.10 tcp 80 roundRobin > 10.1.0.2:8080", "10.96.0.10 udp 53 roundRobin > 10.1.0.2:5353"])
  }

  @Test func dualStackServicesLeadToTheFamilyOfEachAddress() throws {
    let spec = #"{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10","fd00:96::1"],"ports":[{"port":80}]}"#
    let slices = [try slice(endpoint("10.1.0.2")), try slice(endpoint("fd00:1::2"), type: "IPv6")]
    #expect(
      lines(ServedService(try service(spec), slices: slices, nodeName: "n1"))
        == ["10.96.0.10 tcp 80 roundRobin > 10.1.0.2:8080", "fd00:96::1 tcp 80 roundRobin > fd00:1::2:8080"])
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
