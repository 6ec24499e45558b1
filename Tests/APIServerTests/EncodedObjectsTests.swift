import ObjectStore
import Testing

@testable import APIServer

@Suite struct EncodedObjectsTests {
  private static func object(_ number: Int, revision: Int64) -> StoredObject {
    StoredObject(key: "/pods/default/p\(number)", value: [], revision: revision, createRevision: 1)
  }

  private static func message(_ object: StoredObject) -> [UInt8] { Array("\(object.key)@\(object.revision)".utf8) }

  @Test func eachRevisionIsEncodedOnce() {
    let encodings = EncodedObjects(bytesMax: 1 << 20)
    var made = 0
    for revision: Int64 in [1, 1, 2, 2, 1] {
      let objects = (0..<10).map { Self.object($0, revision: revision) }
      let messages = encodings.messages(objects) { object in
        made += 1
        return Self.message(object)
      }
      #expect(messages == objects.map(Self.message))
    }
    // The past does not take the place of the present, and so is made again.
    #expect(made == 30)
  }

  @Test func whatIsKeptStaysBelowTheBoundAndWhatIsUsedStays() {
    let encodings = EncodedObjects(bytesMax: 100_000)
    let favourite = Self.object(-1, revision: 1)
    var made = 0
    for number in 0..<5_000 {
      _ = encodings.message(Self.object(number, revision: 1)) { _ in [UInt8](repeating: 0, count: 100) }
      _ = encodings.message(favourite) { _ in
        made += 1
        return [1]
      }
      if number % 500 == 0 { #expect(encodings.keptBytes <= 100_000) }
    }
    #expect(made == 1)
    #expect(encodings.keptBytes > 20_000)
  }

  @Test func whatIsTooLargeIsNotKept() {
    let encodings = EncodedObjects(bytesMax: 1000)
    let large = encodings.message(Self.object(0, revision: 1)) { _ in [UInt8](repeating: 7, count: 5000) }
    #expect(large.count == 5000)
    #expect(encodings.keptBytes == 0)
  }
}
