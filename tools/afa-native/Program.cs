Console.WriteLine("afa-native");
