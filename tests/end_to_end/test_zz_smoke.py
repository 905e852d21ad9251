import time
def test_smoke(place):
    t=time.time()
    print(place.command("finetune", "--backbone", str(place.pretrained), *place.common(), "--epochs", "10", "--batch-size", "8", "--learning-rate", "1e-3"))
    print("T", time.time()-t); t=time.time()
    print(place.command("train_policy", "--backbone", str(place.pretrained), *place.common(), "--total-texts", "160", "--texts-per-step", "4", "--samples-per-text", "4", "--cloning-texts", "64"))
    print("T", time.time()-t)
