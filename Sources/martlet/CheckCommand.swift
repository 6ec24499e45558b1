import ArgumentParser
import JSON
import Kernel
import NFT

/// `martlet check`: what this machine has and lacks for a node.
struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Say what this machine lacks to be a node.",
    discussion: """
      Reads what the kernel offers and, as root, tries a link pair and an nftables table in a network namespace of its
      own. Changes nothing and needs no daemon.

      EXAMPLES
        sudo martlet check
        martlet check -o json | jq '.[] | select(.state != "ok")'

      EXIT CODES
        0  a node runs here, perhaps with less than all features
        1  something that a node needs is missing
      """)

  @OptionGroup var outputOptions: OutputOptions

  func run() async throws {
    let features = HostFeatures.found()
    // Only root may try; without, the first finding says so.
    let program = Program.encode(NFT.Table(name: "martlet-check", sets: [], chains: []).replacing())
    let refusals = features.isRoot ? await HostFeatures.networkRefusals(program: program) : []
    let findings = CheckFinding.all(of: features, networkRefusals: refusals)
    try show(findings)
    if findings.contains(where: { $0.state == .missing }) { throw ExitCode(Failure.failureCode) }
  }

  private func show(_ findings: [CheckFinding]) throws {
    let format = outputOptions.format()
    if format != .table { return try Console.value(.array(findings.map(\.value)), as: format) }
    var table = Table(["WHAT", "STATE", "DETAIL"])
    table.rows = findings.map { [Table.Cell($0.subject), $0.cell, Table.Cell($0.detail)] }
    try Console.out(table.text(Style(enabled: outputOptions.styled(.output)), width: nil))
    for finding in findings where finding.state != .ok {
      if let remedy = finding.remedy { Console.note("\(finding.subject): \(remedy)") }
    }
  }
}

extension CheckFinding {
  fileprivate var cell: Table.Cell {
    switch state {
    case .ok: Table.Cell("ok", .good)
    case .limited: Table.Cell("limited", .waiting)
    case .missing: Table.Cell("missing", .bad)
    }
  }
}
