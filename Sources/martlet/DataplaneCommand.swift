import ArgumentParser
import Dataplane
import JSON
import Kernel
import Logging

/// `martlet dataplane`: the kernel's Service table, for people.
struct DataplaneCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataplane",
    abstract: "Look at the kernel's Service table.",
    discussion: """
      Reads the nftables table "inet martlet" of this network namespace, whoever keeps it: martlet node or martlet proxy.

      EXAMPLES
        sudo martlet dataplane show
        sudo martlet dataplane show --output nft
        sudo martlet dataplane verify && echo whole
        sudo martlet dataplane flush

      EXIT CODES
        0  success: the table is whole        3  there is no such table
        1  failure                            5  the table is not whole
        2  wrong usage
      """,
    subcommands: [Show.self, Verify.self, Flush.self])

  /// The table is there, and something is wrong with it.
  static let brokenCode: Int32 = 5

  enum Format: String, ExpressibleByArgument, CaseIterable, Sendable { case table, json, nft }

  static func read() async throws -> DataplaneDump {
    guard CurrentProcess.effectiveUser == 0 else {
      throw Failure("reading the kernel's tables needs root", hint: "sudo martlet dataplane …")
    }
    let dump: DataplaneDump?
    do throws(DataplaneError) {
      dump = try await onFreshThread { () throws(DataplaneError) in try DataplaneDump.read() }
    } catch {
      throw Failure("\(error)", hint: "the kernel needs nf_tables, and this program CAP_NET_ADMIN")
    }
    guard let dump else {
      throw Failure(
        "there is no table inet martlet in this network namespace",
        hint: "martlet node and martlet proxy make it", code: Failure.notFoundCode)
    }
    return dump
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show the Services that the kernel has, with their endpoints.",
      discussion: """
        EXAMPLES
          sudo martlet dataplane show
          sudo martlet dataplane show -o json | jq '.services[] | select(.port == 443)'
          sudo martlet dataplane show -o nft
        """)

    @Option(
      name: [.short, .long],
      help: "How to write the answer: table, json, or nft: the whole table in nftables' language.")
    var output = Format.table

    func run() async throws {
      let dump = try await DataplaneCommand.read()
      switch output {
      case .nft: try Console.out(dump.text)
      case .json:
        try Console.value(
          ["services": .array(dump.services.map(\.json)), "chains": .array(dump.chains.map(Self.json))], as: .json)
      case .table: try Console.out(Self.table(dump.services))
      }
    }

    private static func json(_ chain: (name: String, entry: String?, rules: [String])) -> JSONValue {
      var object: JSONObject = ["name": .string(chain.name), "rules": JSONValue(chain.rules)]
      object["entry"] = chain.entry.map { .string($0) }
      return .object(object)
    }

    static func table(_ services: [DataplaneDump.Service]) -> String {
      var table = Table(["ADDRESS", "PORT", "PROTOCOL", "BALANCE", "AFFINITY", "ENDPOINTS"])
      for service in services.sorted(by: { $0.key < $1.key }) {
        let isNode = service.key.address.isUnspecified
        var ends = endpoints(service.endpoints)
        if let outside = service.outside { ends += ends.isEmpty ? "" : "; "; ends += "outside: " + endpoints(outside) }
        if let ranges = service.sourceRanges {
          ends += " from \(ranges.isEmpty ? "nobody" : ranges.map(\.description).joined(separator: ","))"
        }
        table.rows.append([
          Table.Cell(
            isNode ? "node (\(service.key.address.family == .ipv4 ? "IPv4" : "IPv6"))" : "\(service.key.address)"),
          Table.Cell("\(service.key.port)"), Table.Cell(service.key.transport.description.uppercased()),
          Table.Cell(service.balance), Table.Cell(service.affinitySeconds.map { "\($0)s" } ?? ""), Table.Cell(ends),
        ])
      }
      return table.text()
    }

    private static func endpoints(_ endpoints: [ServiceEndpoint]) -> String {
      let shown = endpoints.prefix(shownMax).map(\.text).joined(separator: ",")
      return endpoints.count > shownMax ? "\(shown) + \(endpoints.count - shownMax) more" : shown
    }

    /// Endpoints of one Service in a table; JSON has all.
    private static let shownMax = 6
  }

  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Tell whether the kernel's table is whole.",
      discussion: """
        Finds what cannot be the work of its keeper: chains and sets that are not its own, and Services that lack
        endpoints they count on. A keeper that runs compares more than that, and mends at once.

        EXAMPLES
          sudo martlet dataplane verify

        EXIT CODES
          0  whole        3  no such table        5  not whole
        """)

    @Option(name: [.short, .long], help: "How to write the answer: table or json.")
    var output = Format.table

    func validate() throws {
      if output == .nft { throw ValidationError("--output nft: use table or json; martlet dataplane show knows nft") }
    }

    func run() async throws {
      let verification = try await DataplaneCommand.read().verification
      if output == .json {
        try Console.value(
          [
            "intact": .bool(verification.isIntact), "count": .integer(Int64(verification.count)),
            "differences": JSONValue(verification.differences),
          ], as: .json)
      } else if verification.isIntact {
        try Console.line("The table is whole.")
      } else {
        for difference in verification.differences { try Console.line(difference) }
        let more = verification.count - verification.differences.count
        if more > 0 { try Console.line("and \(more) more") }
      }
      if !verification.isIntact { throw ExitCode(DataplaneCommand.brokenCode) }
    }
  }

  struct Flush: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take the table away; a keeper that runs makes it again.",
      discussion: """
        EXAMPLES
          sudo martlet dataplane flush
        """)

    func run() async throws {
      guard CurrentProcess.effectiveUser == 0 else {
        throw Failure("changing the kernel's tables needs root", hint: "sudo martlet dataplane flush")
      }
      do throws(DataplaneError) {
        let dataplane = try Dataplane(
          configuration: DataplaneConfiguration(podCIDRs: []), logger: Logger(label: "martlet.dataplane"))
        try await dataplane.flush()
      } catch {
        throw Failure("\(error)")
      }
    }
  }
}

extension ServiceEndpoint {
  fileprivate var text: String { address.family == .ipv6 ? "[\(address)]:\(port)" : "\(address):\(port)" }
}

extension DataplaneDump.Service {
  fileprivate var json: JSONValue {
    var object: JSONObject = [
      "address": .string(key.address.description), "port": .integer(Int64(key.port)),
      "protocol": .string(key.transport.description.uppercased()), "balance": .string(balance),
      "endpoints": JSONValue(endpoints.map(\.text)),
    ]
    object["affinitySeconds"] = affinitySeconds.map { .integer(Int64($0)) }
    object["outside"] = outside.map { JSONValue($0.map(\.text)) }
    object["sourceRanges"] = sourceRanges.map { JSONValue($0.map(\.description)) }
    return .object(object)
  }
}
