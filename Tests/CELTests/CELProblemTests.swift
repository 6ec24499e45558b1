import CEL
import Testing

@Suite struct CELProblemTests {
  @Test func aProblemSaysItsMessage() { #expect("\(CELProblem("no such key: a"))" == "no such key: a") }
}
