import Kernel
import OCISpec
import PodRuntime
import Testing

/// What the kernel does with a filter: classic BPF over one call's data.
private struct SeccompMachine {
  let program: [UInt8]

  private func word(_ offset: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(program[offset + $1]) << UInt32(8 * $1) }
  }

  func run(number: UInt32, audit: UInt32, arguments: [UInt64]) -> UInt32? {
    var data = [number, audit, 0, 0]
    for index in 0..<6 {
      let value = index < arguments.count ? arguments[index] : 0
      data += [UInt32(truncatingIfNeeded: value), UInt32(value >> 32)]
    }
    var accumulator: UInt32 = 0
    var at = 0
    for _ in 0..<10_000 {
      guard at * 8 + 8 <= program.count else { return nil }
      let code = program[at * 8]
      let (yes, no) = (Int(program[at * 8 + 2]), Int(program[at * 8 + 3]))
      let value = word(at * 8 + 4)
      at += 1
      switch code {
      case 0x20: accumulator = data[Int(value / 4)]
      case 0x54: accumulator &= value
      case 0x05: at += Int(value)
      case 0x15: at += accumulator == value ? yes : no
      case 0x25: at += accumulator > value ? yes : no
      case 0x35: at += accumulator >= value ? yes : no
      case 0x06: return value
      default: return nil
      }
    }
    return nil
  }
}

@Suite struct ShimSeccompTests {
  static let x86_64: UInt32 = 0xc000_003e
  static let x86: UInt32 = 0x4000_0003
  static let arm: UInt32 = 0x4000_0028
  static let allow: UInt32 = 0x7fff_0000
  static let noSuchCall: UInt32 = 0x0005_0000 | 38
  static let notPermitted: UInt32 = 0x0005_0001

  private func filter(capabilities: [String]) throws -> SeccompFilter {
    try SeccompPrograms.filter(SeccompTemplate.standard.profile(capabilities: capabilities))
  }

  @Test(arguments: [[], ["CAP_SYS_ADMIN"], ["CAP_SYS_PTRACE", "CAP_SYS_CHROOT", "CAP_BPF"]])
  func itDecidesAsLibseccompsOwnProgramDoes(_ capabilities: [String]) throws {
    let filter = try filter(capabilities: capabilities)
    let ours = SeccompMachine(program: try Seccomp.compile(filter))
    let library = SeccompMachine(program: try Seccomp.libraryProgram(filter))
    let samples: [[UInt64]] = [
      [], [0x20000], [0xffff_ffff], [8], [7], [40], [39, 1], [0x1000_0000], [0x7e02_0000], [0x3d_0f00, 5, 5, 5, 5, 5],
      [0x2_0000_0000],
    ]
    // Calls that the installed libseccomp does not know begin here.
    let newest: UInt32 = 451
    var different: [String] = []
    for audit in [Self.x86_64, Self.x86] {
      for number in 0..<newest {
        // A 32-bit machine's arguments have 32 bits.
        for sample in samples where audit == Self.x86_64 || sample.allSatisfy({ $0 >> 32 == 0 }) {
          let mine = ours.run(number: number, audit: audit, arguments: sample)
          let theirs = library.run(number: number, audit: audit, arguments: sample)
          if mine != theirs { different.append("call \(number) of \(audit) with \(sample)") }
        }
      }
    }
    #expect(different.isEmpty)
    #expect(ours.program.count * 3 < library.program.count * 2)
  }

  @Test func callsThatAreNewerThanTheProgramDoNotExist() throws {
    let machine = SeccompMachine(program: try Seccomp.compile(try filter(capabilities: [])))
    #expect(machine.run(number: 452, audit: Self.x86_64, arguments: []) == Self.allow)
    #expect(machine.run(number: 9000, audit: Self.x86_64, arguments: []) == Self.noSuchCall)
    #expect(machine.run(number: 0x4000_0000, audit: Self.x86_64, arguments: []) == Self.noSuchCall)
    #expect(machine.run(number: 1, audit: Self.arm, arguments: []) == Self.noSuchCall)
  }

  @Test func aHighHalfDoesNotGetAroundAComparison() throws {
    let machine = SeccompMachine(program: try Seccomp.compile(try filter(capabilities: [])))
    let socket: UInt32 = 41
    #expect(machine.run(number: socket, audit: Self.x86_64, arguments: [2]) == Self.allow)
    #expect(machine.run(number: socket, audit: Self.x86_64, arguments: [40]) == Self.notPermitted)
    #expect(machine.run(number: socket, audit: Self.x86_64, arguments: [1 << 32 | 40]) == Self.notPermitted)
  }

  @Test func everyComparisonDecidesAsItSays() throws {
    let values: [UInt64] = [0, 1, 4, 5, 6, 0xffff_ffff, 1 << 32, 1 << 32 | 5, 2 << 32 | 4, .max]
    for comparison in SeccompFilter.Comparison.all {
      for bound: UInt64 in [5, 1 << 32 | 5, 0xffff_ffff] {
        let argument = SeccompFilter.Argument(index: 3, comparison: comparison, value: bound, valueTwo: bound & 0xff)
        let filter = SeccompFilter(
          defaultAction: .allow, rules: [.init(names: ["read"], action: .error(5), arguments: [argument])])
        let machine = SeccompMachine(program: try Seccomp.compile(filter))
        for value in values {
          let holds =
            switch comparison {
            case .equal: value == bound
            case .notEqual: value != bound
            case .less: value < bound
            case .lessOrEqual: value <= bound
            case .greater: value > bound
            case .greaterOrEqual: value >= bound
            case .maskedEqual: value & bound == bound & 0xff
            }
          let answer = machine.run(number: 0, audit: Self.x86_64, arguments: [0, 0, 0, value])
          #expect(answer == (holds ? 0x0005_0005 : Self.allow), "\(comparison) \(bound) with \(value)")
        }
      }
    }
  }

  @Test func capabilitiesHaveTheNumbersThatLibcapHas() {
    for (number, name) in Capability.names.enumerated() {
      #expect(Capabilities.number(name) == number && Capability.number(name) == number)
    }
    #expect(Capabilities.last >= 40)
  }
}

extension SeccompFilter.Comparison {
  fileprivate static let all: [Self] = [
    .notEqual, .less, .lessOrEqual, .equal, .greaterOrEqual, .greater, .maskedEqual,
  ]
}
