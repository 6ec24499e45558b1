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
          configuration: DataplaneConfiguration(podCIDRs: podCIDRs),
          logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      }
    }
    return try made.get()
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
    let rendered = normalized(table.table(podCIDRs: podCIDRs).text)
    #expect(listing == rendered, "\(Set(listing).symmetricDifference(rendered).sorted().joined(separator: "\n--\n"))")
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
    #expect(applied.messages <= 7)
    // The service's lane, the fourth slot, its lane and its hairpin.
    #expect(applied.addedElements == 4)
    #expect(applied.removedElements == 1)
  }

  @Test func adoptReplacesAForeignTableOfTheName() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.node.command(
      "nft", "add table inet martlet { chain stray { counter; }; set services4 { type mark; }; }")
    let table = try ServiceTable(ServiceTableTests.cases[1].entries)
    try await bench.dataplane.apply(table)
    #expect(try await bench.listing() == normalized(table.table(podCIDRs: podCIDRs).text))
    let successor = try await Bench.owner(in: bench.node)
    await successor.adopt()
    try await successor.apply(try ServiceTable([]))
    #expect(try await bench.listing() == normalized(ServiceTable().table(podCIDRs: podCIDRs).text))
  }

  @Test func tableThatSomebodyFlushedIsMadeAgainWithTheNextChange() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    let entries = [service("a", "10.96.0.1", endpoints: 1), service("b", "10.96.0.2", endpoints: 2)]
    try await bench.dataplane.apply(try ServiceTable(entries))
    try await bench.node.command("nft", "flush", "ruleset")
    try await bench.dataplane.change(set: [], remove: [entries[0].key])
    #expect(try await bench.listing() == normalized(ServiceTable([entries[1]]).table(podCIDRs: podCIDRs).text))
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

  @Test func refusalNamesMessageAndElementAndChangesNothing() async throws {
    let bench = try await Bench.make()
    defer { bench.remove() }
    try await bench.dataplane.apply(try ServiceTable([service("a", "10.96.0.1", endpoints: 1)]))
    // Somebody else's hand: the element that the next change adds is there already.
    try await bench.node.command(
      "nft", "add element inet martlet endpoints4 { 10.96.0.2 . tcp . 80 . 50:2 : 10.88.0.99 . 8080 }")
    let before = try await bench.listing()
    let error = await #expect(throws: DataplaneError.self) {
      try await bench.dataplane.change(set: [service("b", "10.96.0.2", endpoints: 2)])
    }
    #expect(
      error?.description.hasPrefix(
        "apply services: add element inet martlet endpoints4 { 10.96.0.2 . tcp . 80 . 50:2 : 10.88.0.11 . 8080 }: EEXIST (17)"
      )
        == true, "\(String(describing: error))")
    #expect(try await bench.listing() == before)
    // And the state was not advanced: with the stray gone the same change works.
    try await bench.node.command("nft", "delete element inet martlet endpoints4 { 10.96.0.2 . tcp . 80 . 50:2 }")
    try await bench.dataplane.change(set: [service("b", "10.96.0.2", endpoints: 2)])
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>) func randomChangesEndWhereAFullApplyEnds(_ seed: UInt64) async throws
  {
    let bench = try await Bench.make()
    defer { bench.remove() }
    var random = SeededGenerator(seed: seed)
    var table = ServiceTable()
    try await bench.dataplane.apply(table)
    for step in 0..<40 {
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let number = Int.random(in: 0..<12, using: &random)
        let virtual = number % 3 == 0 ? "fd00:96::\(number + 1)" : "10.96.0.\(number + 1)"
        let entry = service(
          "s\(number)", virtual, port: 80, Bool.random(using: &random) ? .tcp : .udp,
          Bool.random(using: &random) ? .roundRobin : .hash, endpoints: Int.random(in: 0...5, using: &random))
        if Int.random(in: 0..<4, using: &random) == 0 { table.remove(entry.key) } else { try table.set(entry) }
      }
      if step % 10 == 9 { await bench.dataplane.adopt() }
      try await bench.dataplane.apply(table)
    }
    #expect(try await bench.listing() == normalized(table.table(podCIDRs: podCIDRs).text), "seed \(seed)")
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
