import Kernel
import NFT
import Testing

@testable import Dataplane

@Suite struct ProgramTests {
  @Test(arguments: 1...400 as ClosedRange<UInt64>) func brokenProgramIsRefusedAndNeverReadPastItsEnd(_ seed: UInt64)
    throws
  {
    var random = SeededGenerator(seed: seed)
    var program = Program.encode(
      try ServiceTable(ServiceTableTests.cases[2].entries).table(podCIDRs: podCIDRs).replacing())
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      switch Int.random(in: 0..<3, using: &random) {
      case 0: program[Int.random(in: 0..<program.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      case 1: program.removeLast(Int.random(in: 0..<program.count / 2, using: &random))
      default:
        program.insert(UInt8.random(in: 0...255, using: &random), at: Int.random(in: 0..<program.count, using: &random))
      }
    }
    do {
      // What still reads as a program gives a batch of whole messages.
      #expect(try NftTransactions.build(program).count % 4 == 0)
    } catch {
      #expect(error.cause.call == "build")
    }
  }

  @Test func messageOfMoreThanItsLimitIsRefused() {
    let set = SetDeclaration(name: "s", key: [.ipv4Address])
    let elements = (0..<4_300).map { Element(Words().address([10, 0, UInt8($0 >> 8), UInt8($0 & 0xff)])) }
    let error = #expect(throws: NftRefusal.self) {
      try NftTransactions.build(Program.encode([.addElements(table: "t", set, elements)])).count
    }
    #expect(error?.cause.errno == Errno.messageTooLong)
  }

  @Test func emptyProgramIsAnEmptyTransaction() throws {
    #expect(try NftTransactions.build([]).count == 40)
  }
}
