import Dataplane
import Kernel
import Logging
import NFT
import TestSupport
import Testing

/// A node's namespace with a dataplane in it.
struct Bench {
  let directory: TestDirectory
  let node: LabNamespace
  let dataplane: Dataplane

  static func make() async throws -> Bench {
    let directory = try TestDirectory()
    let node = try await LabNamespace.make(at: "\(directory.path)/node")
    return Bench(directory: directory, node: node, dataplane: try await owner(in: node))
  }

  /// Another owner of the same table, as after a restart.
  static func owner(in node: LabNamespace) async throws -> Dataplane {
    let made = try await node.namespace.run { () throws(SyscallError) -> Result<Dataplane, DataplaneError> in
      Result { () throws(DataplaneError) in
        try Dataplane(
          configuration: DataplaneConfiguration(podCIDRs: podCIDRs, nodePortAddresses: Array(nodeAddresses)),
          logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      }
    }
    return try made.get()
  }

  func dump() async throws -> DataplaneDump? {
    try await node.namespace.run { () throws(SyscallError) -> Result<DataplaneDump?, DataplaneError> in
      Result { () throws(DataplaneError) in try DataplaneDump.read() }
    }.get()
  }

  func remove() {
    try? node.remove()
    try? directory.remove()
  }

  /// What the kernel holds, as nft lists it, in an order that does not depend on how it came there.
  func listing() async throws -> [String] {
    normalized(try await node.command("nft", "list", "table", "inet", "martlet"))
  }
}

/// Sets and chains sorted, elements sorted within.
func normalized(_ text: String) -> [String] {
  var blocks: [String] = []
  var block: [String] = []
  for line in text.split(separator: "\n").map({ $0.trimmingWhitespace() }) {
    if line == "}" {
      blocks.append(block.joined(separator: "\n"))
      block = []
      continue
    }
    if line.contains(" = {") || !block.isEmpty && block.last?.hasSuffix(",") == true {
      let elements = line.replacing("elements = {", with: "").replacing(" }", with: "")
      for element in elements.split(separator: ",") { block.append("\(element.trimmingWhitespace()),") }
      continue
    }
    block.append(String(line))
  }
  blocks = blocks.map { block in
    let lines = block.split(separator: "\n").map(String.init)
    // Rules keep their order; elements have none.
    return (lines.filter { !$0.hasSuffix(",") } + lines.filter { $0.hasSuffix(",") }.sorted()).joined(separator: "\n")
  }
  return blocks.filter { !$0.isEmpty }.sorted()
}

/// A listing in which endpoints have no slots: which one of them has depends on what was there before.
func withoutSlots(_ listing: [String]) -> [String] {
  listing.map { block in
    let lines = block.split(separator: "\n").map { line in
      line.split(separator: " ").map { $0.hasPrefix("5000:") || $0.hasPrefix("5100:") ? "slot" : String($0) }
        .joined(separator: " ")
    }
    return (lines.filter { !$0.hasSuffix(",") } + lines.filter { $0.hasSuffix(",") }.sorted()).joined(separator: "\n")
  }.sorted()
}

extension Substring {
  func trimmingWhitespace() -> Substring {
    var rest = self.drop { $0 == " " || $0 == "\t" }
    while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
    return rest
  }
}

@Suite struct KernelTableTests {
  @Test(arguments: ServiceTableTests.cases.map(\.name)) func kernelListsWhatWeRender(_ name: String) async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let table = try ServiceTable(try #require(ServiceTableTests.cases.first { $0.name == name }).entries)
    try await bench.dataplane.apply(table)
    let listing = try await bench.listing()
    let rendered = normalized(table.table(podCIDRs: podCIDRs, nodePortAddresses: nodeAddresses).text)
    #expect(listing == rendered, "\(Set(listing).symmetricDifference(rendered).sorted().joined(separator: "\n--\n"))")
  }

  /// Sets, elements and rules as they are read back without nft.
  @Test(arguments: ServiceTableTests.cases.map(\.name)) func weListWhatNftLists(_ name: String) async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(
      try ServiceTable(try #require(ServiceTableTests.cases.first { $0.name == name }).entries))
    try await bench.dataplane.apply(PolicyPacketTests.example)
    let ours = normalized(try #require(try await bench.dump()).text)
    let theirs = try await bench.listing()
    #expect(ours == theirs, "\(Set(ours).symmetricDifference(theirs).sorted().joined(separator: "\n--\n"))")
  }

  @Test func rulesOfOthersAreShownAsTheirs() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(try ServiceTable([]))
    try await bench.node.command("nft", "add rule inet martlet services ct mark set 7")
    let dump = try #require(try await bench.dump())
    #expect(dump.text.contains("# not ours: "))
    #expect(dump.verification.differences == ["chain services has a rule that is not ours"])
  }

  @Test func listedTableLoadsAgain() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(try ServiceTable(ServiceTableTests.cases[3].entries))
    let text = try await bench.node.command("nft", "list", "table", "inet", "martlet")
    try await bench.node.command("nft", "delete", "table", "inet", "martlet")
    try await bench.node.command("nft", "-f", "-", input: text)
    #expect(try await bench.listing() == normalized(text))
  }

  @Test func applyingTwiceSendsNothing() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let table = try ServiceTable(ServiceTableTests.cases[2].entries)
    #expect(try await bench.dataplane.apply(table).messages > 0)
    let before = try await bench.listing()
    #expect(try await bench.dataplane.apply(table) == Dataplane.Applied())
    #expect(try await bench.listing() == before)
  }

  @Test func oneEndpointMoreCostsAHandfulOfMessages() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let entries = (0..<500).map { service("s\($0)", "10.96.\($0 / 250).\($0 % 250 + 1)", endpoints: 3) }
    try await bench.dataplane.apply(try ServiceTable(entries))
    let applied = try await bench.dataplane.change(set: [service("s7", "10.96.0.8", endpoints: 4)])
    #expect(applied.messages <= 8)
    // The service's lane, the fourth slot, its lane at both ends and its hairpin.
    #expect(applied.addedElements == 5)
    #expect(applied.removedElements == 1)
  }

  /// Whichever of its fifty goes, and whatever else the service has.
  @Test(arguments: [ServiceEntry.Balance.roundRobin, .random], [nil, 600])
  func anEndpointThatGoesTakesFourElementsWithIt(_ balance: ServiceEntry.Balance, _ seconds: Int?) async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    var entry = service("s", "10.96.0.8", .tcp, balance, endpoints: 50) { $0.affinitySeconds = seconds }
    try await bench.dataplane.apply(try ServiceTable([entry]))
    for _ in 0..<3 {
      entry.endpoints.removeFirst()
      let applied = try await bench.dataplane.change(set: [entry])
      // Its slot gets what the last one had; the lanes of one endpoint less come, the others go. Its hairpin goes.
      let most = seconds == nil ? (added: 5, removed: 7) : (added: 5, removed: 9)
      #expect(applied.addedElements <= most.added && applied.removedElements <= most.removed, "\(applied)")
    }
    #expect(try await bench.dataplane.verify().isIntact)
    // A successor finds the slots as they are.
    let successor = try await Bench.owner(in: bench.node)
    #expect(try await successor.apply(try ServiceTable([entry])).messages == 0)
  }

  @Test func setsGrowPastTheRoomTheyWereMadeWith() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    // With room from the first sync on, and past it; then without.
    let many = (0..<1000).map { service("s\($0)", "10.97.\($0 / 250).\($0 % 250 + 1)", endpoints: 1) }
    let successor = try await Bench.owner(in: bench.node)
    try await successor.flush()
    try await successor.apply(try ServiceTable(many))
    #expect(try await bench.node.command("nft", "list", "table", "inet", "martlet").contains("size 2000"))
    let more = (0..<4000).map { service("t\($0)", "10.98.\($0 / 250).\($0 % 250 + 1)", endpoints: 1) }
    try await successor.change(set: more)
    #expect(try await successor.verify().isIntact)
    try await bench.dataplane.flush()
    try await bench.dataplane.apply(try ServiceTable(many + more))
    #expect(try await bench.dataplane.verify().isIntact)
  }

  @Test func adoptReplacesAForeignTableOfTheName() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.node.command(
      "nft", "add table inet martlet { chain stray { counter; }; set services4 { type mark; }; }")
    let table = try ServiceTable(ServiceTableTests.cases[1].entries)
    try await bench.dataplane.apply(table)
    #expect(
      try await bench.listing() == normalized(table.table(podCIDRs: podCIDRs, nodePortAddresses: nodeAddresses).text))
    let successor = try await Bench.owner(in: bench.node)
    await successor.adopt()
    try await successor.apply(try ServiceTable([]))
    #expect(
      try await bench.listing()
        == normalized(ServiceTable().table(podCIDRs: podCIDRs, nodePortAddresses: nodeAddresses).text))
  }

  @Test func tableThatSomebodyFlushedIsMadeAgainWithTheNextChange() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let entries = [service("a", "10.96.0.1", endpoints: 1), service("b", "10.96.0.2", endpoints: 2)]
    try await bench.dataplane.apply(try ServiceTable(entries))
    try await bench.node.command("nft", "flush", "ruleset")
    try await bench.dataplane.change(set: [], remove: [entries[0].key])
    #expect(
      try await bench.listing()
        == normalized(ServiceTable([entries[1]]).table(podCIDRs: podCIDRs, nodePortAddresses: nodeAddresses).text))
  }

  @Test func flushLeavesOtherTablesAlone() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.node.command("nft", "add table inet other")
    try await bench.dataplane.apply(try ServiceTable(ServiceTableTests.cases[1].entries))
    try await bench.dataplane.flush()
    try await bench.dataplane.flush()
    #expect(try await bench.node.command("nft", "list", "tables") == "table inet other\n")
  }

  @Test func whatSomebodyElsePutInTheWayIsReplaced() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(try ServiceTable([service("a", "10.96.0.1", endpoints: 1)]))
    // The element that the next change adds is there already.
    try await bench.node.command(
      "nft", "add element inet martlet endpoints4 { 10.96.0.2 . tcp . 80 . 5000:2 : 10.88.0.99 . 8080 }")
    try await bench.dataplane.change(set: [service("b", "10.96.0.2", endpoints: 2)])
    let found = try await bench.dataplane.verify()
    #expect(found.isIntact, "\(found)")
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>) func randomChangesEndWhereAFullApplyEnds(_ seed: UInt64) async throws
  {
    let bench = try await Bench.make()
    defer { bench.remove() }
    var random = SeededGenerator(seed: seed)
    var table = ServiceTable()
    var nodes = nodeAddresses
    try await bench.dataplane.apply(table)
    for step in 0..<40 {
      if step % 7 == 3 { nodes = Set(nodeAddresses.filter { _ in Bool.random(using: &random) }) }
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let number = Int.random(in: 0..<12, using: &random)
        let entry = randomEntry(number, &random)
        if Int.random(in: 0..<4, using: &random) == 0 { table.remove(entry.key) } else { try table.set(entry) }
      }
      if step % 10 == 9 { await bench.dataplane.adopt() }
      try await bench.dataplane.setNodePortAddresses(Array(nodes))
      try await bench.dataplane.apply(table)
    }
    #expect(
      withoutSlots(try await bench.listing())
        == withoutSlots(normalized(table.table(podCIDRs: podCIDRs, nodePortAddresses: nodes).text)),
      "seed \(seed)")
    let found = try await bench.dataplane.verify()
    #expect(found.isIntact, "\(found)")
  }

  /// Any kind of service, often with the address and port of another seed's.
  private func randomEntry(_ number: Int, _ random: inout SeededGenerator) -> ServiceEntry {
    let isIPv6 = number % 3 == 0
    var entry = service(
      "s\(number)", isIPv6 ? "fd00:96::\(number + 1)" : "10.96.0.\(number + 1)",
      [.tcp, .udp, .sctp].randomElement(using: &random)!,
      [.roundRobin, .random, .hash].randomElement(using: &random)!, endpoints: Int.random(in: 0...5, using: &random))
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      entry.kind = .nodePort
      entry.address = address(isIPv6 ? "::" : "0.0.0.0")
      entry.port = 30_000 + UInt16(number % 4)
    case 1:
      entry.kind = .external
      // One of the node's own: a node port has to yield.
      if !isIPv6 { (entry.address, entry.port) = (address("192.0.2.1"), 30_000 + UInt16(number % 4)) }
    default: break
    }
    if Int.random(in: 0..<3, using: &random) == 0 {
      entry.affinitySeconds = [60, 10_800].randomElement(using: &random)
    }
    if Int.random(in: 0..<3, using: &random) == 0 {
      entry.outside = Array(entry.endpoints.prefix(Int.random(in: 0...2, using: &random)))
    }
    if Int.random(in: 0..<3, using: &random) == 0 {
      entry.sourceRanges = (0..<Int.random(in: 0...3, using: &random)).map {
        IPPrefix(isIPv6 ? "2001:db8:\($0)::/48" : "203.0.\($0 * 16).0/20")!
      }
    }
    entry.whenEmpty = [.reject, .drop, .none].randomElement(using: &random)!
    entry.masquerade = [.automatic, .always, .never].randomElement(using: &random)!
    return entry
  }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
